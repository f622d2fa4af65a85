import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { changeInvoiceSettings } from '../../../../invoicer/agreements/invoice-settings/change-settings.ts'
import { createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { findItem } from '../../../../invoicer/billing/items/items.postgres.ts'
import { findRunReport } from '../../../../invoicer/billing/run/run-report.postgres.ts'
import { issueCreditNote } from '../../../../invoicer/collection/credit-notes/issue-credit-note.ts'
import { grantCredit } from '../../../../invoicer/collection/credits/grant-credit.ts'
import { collectPayments } from '../../../../invoicer/collection/payments/collect-payments.ts'
import { changeInvoice } from '../../../../invoicer/collection/voids/change-invoice.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, JANUARY, NOVEMBER, type World } from '../../support/world.ts'
import {
  balanceOf,
  billed,
  change,
  eventNames,
  everything,
  FEE,
  HOUR_MS,
  runAt,
  standing,
  USE,
  voidWorld,
} from './void-world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const sql = <R extends object>(world: World, text: string) =>
  world.transact(world.tenantId, async (tx) => (await tx.query<R>(text)).rows)

/** 5.00 for `a`. */
async function giveCredit(world: World, expiresAtMs: number | null = null): Promise<void> {
  const grant = { externalKey: 'g', customer: 'a', name: null, amount: '5.00', priority: 0, expiresAtMs }
  const means = { ...world, now: () => NOVEMBER }
  await world.transact(world.tenantId, (tx) => grantCredit(tx, grant, means))
}

const creditOf = async (world: World) =>
  sql<{ text: string }>(
    world,
    `SELECT g.remaining_minor || ' left, ' || coalesce(string_agg(u.kind || ' ' || u.amount_minor, ', ' ORDER BY u.id), '-')
       AS text
     FROM credit_grants g LEFT JOIN credit_uses u ON u.grant_id = g.id
     GROUP BY g.id, g.remaining_minor, g.amount_minor
     HAVING g.amount_minor = g.remaining_minor + coalesce(sum(u.amount_minor), 0)`,
  )

describe('voiding', () => {
  test('gives back what the invoice took of credit and balance, to the cent', async () => {
    const { world } = await voidWorld(database, [FEE])
    await world.subscribe('a', { endMs: null })
    // An item below 0 makes a negative total, which becomes balance: 27.00 off 20.00.
    const item = { customer: 'a', subscription: null, currency: null, quantity: null, unitAmount: null }
    const off = { ...item, externalKey: 'off', description: 'Off', amount: '-27.00' }
    await world.transact(world.tenantId, (tx) => createItem(tx, off, world))
    await billed(world)
    expect(await balanceOf(world, 'a')).toBe('7.00')
    await giveCredit(world)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    const [, december] = await world.invoices()
    expect(december).toMatchObject({ creditMinor: 500n, balanceMinor: 700n, amountDueMinor: 800n })
    expect(await creditOf(world)).toEqual([{ text: '0 left, drawn 500' }])
    expect(await balanceOf(world, 'a')).toBe('0.00')
    const answer = await change(world, december!.id, 'void', { reason: 'To the wrong customer' })
    expect(answer).toMatchObject({
      state: 'void',
      changeReason: 'To the wrong customer',
      voidedAtMs: world.clock.nowMs,
    })
    expect(await creditOf(world)).toEqual([{ text: '500 left, drawn 500, returned -500' }])
    expect(await balanceOf(world, 'a')).toBe('7.00')
    expect((await eventNames(world)).slice(-3)).toEqual(['credit.returned', 'balance.changed', 'invoice.voided (told)'])
    // The next one has them again.
    await runAt(world, JANUARY + 32 * 24 * HOUR_MS)
    expect((await world.invoices()).at(-1)).toMatchObject({ creditMinor: 500n, balanceMinor: 700n, state: 'finalised' })
  })

  test('gives to the balance what was drawn of credit that has expired since', async () => {
    const { world } = await voidWorld(database, [FEE])
    await world.subscribe('a', { endMs: null })
    await giveCredit(world, DECEMBER + 4 * 24 * HOUR_MS)
    const { id } = await billed(world)
    world.clock.nowMs = DECEMBER + 5 * 24 * HOUR_MS
    await change(world, id, 'void')
    expect(await creditOf(world)).toEqual([{ text: '0 left, drawn 500' }])
    expect(await balanceOf(world, 'a')).toBe('5.00')
  })

  test('an invoice that credit alone has paid gives it back too', async () => {
    const { world } = await voidWorld(database, [FEE])
    await world.subscribe('a', { endMs: NOVEMBER + 3 * 24 * HOUR_MS })
    await giveCredit(world)
    const invoice = await billed(world)
    expect(invoice).toMatchObject({ state: 'paid', totalMinor: 200n, creditMinor: 200n })
    await change(world, invoice.id, 'void')
    expect(await creditOf(world)).toEqual([{ text: '500 left, drawn 200, returned -200' }])
  })

  test('lets items of the invoice wait for the next one again', async () => {
    const { world } = await voidWorld(database, [FEE])
    const subscription = await world.subscribe('a', { endMs: null })
    const item = { customer: null, subscription, currency: null, quantity: null, unitAmount: null }
    const set = { ...item, externalKey: 'set', description: 'Setup', amount: '3.00' }
    await world.transact(world.tenantId, (tx) => createItem(tx, set, world))
    const { id } = await billed(world)
    await change(world, id, 'void')
    const found = await world.transact(world.tenantId, (tx) => findItem(tx, 'set'))
    expect(found).toMatchObject({ state: 'pending', invoiceId: null })
    await runAt(world, JANUARY + 2 * HOUR_MS)
    expect(standing(await world.invoices())).toEqual([
      'INV-000001 23.00, 23.00 due, void',
      'INV-000002 23.00, 23.00 due, finalised',
    ])
  })

  test('is refused where money was paid, or may still be on its way', async () => {
    const { world, answers } = await voidWorld(database, [FEE])
    await world.subscribe('a', { endMs: null })
    answers.push({ outcome: 'unknown', reason: 'timed out' })
    const { id, billingRunId } = await billed(world)
    const before = await everything(world)
    await expect(change(world, id, 'void')).rejects.toThrow('may still succeed')
    await expect(change(world, id, 'write_off')).rejects.toThrow('may still succeed')
    expect(await everything(world)).toBe(before)
    answers.push({ outcome: 'succeeded', reference: 'x' })
    await world.deps.collect(world.tenantId, billingRunId!, async () => undefined)
    await expect(change(world, id, 'void')).rejects.toThrow('It was paid: give it back by a credit note.')
    await expect(change(world, id, 'reissue')).rejects.toThrow('It was paid')
  })

  test('is refused where credit notes, or settled late usage, refer to it', async () => {
    const { world } = await voidWorld(database)
    await world.subscribe('a', { endMs: null })
    const { id } = await billed(world)
    world.use('a', 'context_tokens', '4', NOVEMBER, world.clock.nowMs + 1)
    await runAt(world, world.clock.nowMs + HOUR_MS)
    await expect(change(world, id, 'void')).rejects.toThrow('came late')
    await world.subscribe('b', { endMs: null })
    await runAt(world, world.clock.nowMs + HOUR_MS)
    const other = (await world.invoices()).find(({ customer }) => customer.externalKey === 'b')!
    const note = { invoiceId: other.id, idempotencyKey: 'n', reason: 'Sorry', amount: '1.00', lines: null }
    await world.transact(world.tenantId, (tx) => issueCreditNote(tx, note, world))
    await expect(change(world, other.id, 'void')).rejects.toThrow('give back the rest by another one')
  })

  test('of a void one, nothing can be given back', async () => {
    const { world } = await voidWorld(database, [FEE])
    await world.subscribe('a', { endMs: null })
    const { id } = await billed(world)
    await change(world, id, 'void')
    const note = { invoiceId: id, idempotencyKey: 'n', reason: 'Sorry', amount: null, lines: null }
    const issue = world.transact(world.tenantId, (tx) => issueCreditNote(tx, note, world))
    await expect(issue).rejects.toThrow('The invoice is void')
  })

  test('of which nothing is due, nothing can be written off', async () => {
    const { world } = await voidWorld(database, [USE])
    await world.subscribe('a', { endMs: null })
    world.deps.collect = async () => true
    const { id } = await billed(world)
    expect(standing(await world.invoices())).toEqual(['INV-000001 0.00, 0.00 due, finalised'])
    await expect(change(world, id, 'write_off')).rejects.toThrow('Nothing of it is due')
  })

  test('an invoice that was suppressed is shown to nobody when it is void either', async () => {
    const { world } = await voidWorld(database, [USE])
    const settings = { zeroInvoices: 'suppress' as const, leastDue: {} }
    await world.transact(world.tenantId, (tx) => changeInvoiceSettings(tx, settings, world))
    await world.subscribe('a', { endMs: null })
    const runId = await runAt(world, DECEMBER + 2 * HOUR_MS)
    const [{ id }] = (await sql<{ id: string }>(world, 'SELECT id FROM invoices')) as [{ id: string }]
    await change(world, id, 'void')
    expect(await world.invoices()).toEqual([])
    const report = await world.transact(world.tenantId, (tx) => findRunReport(tx, runId))
    expect(report).toMatchObject({ invoicesCreated: 0 })
    expect((await eventNames(world)).at(-1)).toBe('invoice.voided')
  })

  test('what is written off is paid once credit notes leave nothing due', async () => {
    const { world } = await voidWorld(database, [FEE])
    await world.subscribe('a', { endMs: null })
    const { id } = await billed(world)
    expect(await change(world, id, 'write_off')).toMatchObject({ state: 'uncollectible', amountDueMinor: 2_000n })
    const note = { invoiceId: id, idempotencyKey: 'n', reason: 'Sorry', amount: null, lines: null }
    await world.transact(world.tenantId, (tx) => issueCreditNote(tx, note, world))
    expect(standing(await world.invoices())).toEqual(['INV-000001 20.00, 20.00 due, paid'])
  })
})

describe('an idempotency key', () => {
  test('changes once: the same again answers the same, another request is refused', async () => {
    const { world } = await voidWorld(database, [FEE])
    await world.subscribe('a', { endMs: null })
    const { id } = await billed(world)
    const first = await change(world, id, 'void', { key: 'k', reason: 'r' })
    const after = await everything(world)
    expect(await change(world, id, 'void', { key: 'k', reason: 'r' })).toEqual(first)
    await expect(change(world, id, 'void', { key: 'k', reason: 'other' })).rejects.toMatchObject({ code: 'conflict' })
    await expect(change(world, id, 'reissue', { key: 'k', reason: 'r' })).rejects.toMatchObject({ code: 'conflict' })
    expect(await everything(world)).toBe(after)
  })

  test('two voids at once give credit back once, with one key and with two', async () => {
    for (const keys of [
      ['k', 'k'],
      ['k', 'l'],
    ]) {
      const { world } = await voidWorld(database, [FEE])
      await world.subscribe('a', { endMs: null })
      await giveCredit(world)
      const { id } = await billed(world)
      const done = await Promise.allSettled(keys.map((key) => change(world, id, 'void', { key, reason: 'r' })))
      const refused = done.filter(({ status }) => status === 'rejected')
      expect(refused).toHaveLength(new Set(keys).size - 1)
      for (const one of refused) expect(one).toMatchObject({ reason: { code: 'illegal_state' } })
      expect(await creditOf(world)).toEqual([{ text: '500 left, drawn 500, returned -500' }])
    }
  })
})

describe('voiding beside a run that collects', () => {
  test('an invoice voided before its attempt is never charged', async () => {
    const { world } = await voidWorld(database, [FEE])
    await world.subscribe('a', { endMs: null })
    const { collect } = world.deps
    world.deps.collect = async () => true
    const { id, billingRunId } = await billed(world)
    await collect(world.tenantId, billingRunId!, async (step) => {
      // It is listed as unpaid by now.
      if (step === 'attempt') await change(world, id, 'void')
    })
    expect(await sql(world, 'SELECT FROM payments')).toEqual([])
    expect(standing(await world.invoices())).toEqual(['INV-000001 20.00, 20.00 due, void'])
  })

  test('one whose charge is on its way is not voided, and is paid', async () => {
    const { world } = await voidWorld(database, [FEE])
    await world.subscribe('a', { endMs: null })
    world.deps.collect = async () => true
    const { id, billingRunId } = await billed(world)
    let refused: unknown
    const charge = async () => {
      refused = await change(world, id, 'void').catch((error: unknown) => error)
      return { outcome: 'succeeded' as const, reference: 'x' }
    }
    const deps = { ...world.deps, gateway: { name: 'manual' as const, charge }, stopping: () => false }
    await collectPayments(deps, async () => undefined, world.tenantId, billingRunId!)
    expect(refused).toMatchObject({ code: 'illegal_state' })
    expect(standing(await world.invoices())).toEqual(['INV-000001 20.00, 20.00 due, paid'])
  })
})

test('a crash before any statement of a reissue leaves all as it was', async () => {
  const { world } = await voidWorld(database)
  const subscription = await world.subscribe('a', { endMs: null })
  const item = { customer: null, subscription, currency: null, quantity: null, unitAmount: null }
  const set = { ...item, externalKey: 'set', description: 'Setup', amount: '3.00' }
  await world.transact(world.tenantId, (tx) => createItem(tx, set, world))
  await giveCredit(world)
  const { id } = await billed(world)
  const before = await everything(world)
  const input = { invoiceId: id, change: 'reissue' as const, idempotencyKey: 'k', reason: 'r' }
  let statements = 0
  for (let dieBefore = 0; ; dieBefore += 1) {
    statements = 0
    const dying = world.transact(world.tenantId, (tx) => {
      const query = (...args: Parameters<TenantTransaction['query']>) => {
        if (statements === dieBefore) throw new Error('killed')
        statements += 1
        return tx.query(...args)
      }
      return changeInvoice({ query } as TenantTransaction, input, world)
    })
    if (
      await dying.then(
        () => true,
        (error: unknown) => killedOnly(error),
      )
    )
      break
    expect(await everything(world)).toBe(before)
  }
  expect(statements).toBeGreaterThan(10)
  expect(standing(await world.invoices())).toEqual(['INV-000001 23.00, 18.00 due, void'])
})

function killedOnly(error: unknown): false {
  expect(error).toMatchObject({ message: 'killed' })
  return false
}
