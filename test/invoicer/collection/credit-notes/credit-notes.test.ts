import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSubscription } from '../../../../invoicer/agreements/subscriptions/create-subscription.ts'
import { readBalance } from '../../../../invoicer/collection/balance/read-balance.ts'
import {
  type IssueCreditNote,
  issueCreditNote,
  readCreditNotes,
} from '../../../../invoicer/collection/credit-notes/issue-credit-note.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, type World } from '../../support/world.ts'

const HOUR_MS = 3_600_000
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** `a` owes 20.00 and 5.00 for November; nobody has paid yet. */
async function owing() {
  worlds += 1
  const world = await createWorld(database, `notes-${worlds}`)
  const base = { key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount: '20' } } as const
  const price = { model: 'per_unit', unit_amount: '1' } as const
  await world.plan({ charges: [base, { key: 'use', name: 'Use', meter: 'context_tokens', price }] })
  await world.subscribe('a', { endMs: null })
  world.use('a', 'context_tokens', '5', NOVEMBER)
  const { collect } = world.deps
  world.deps.collect = async () => true
  const runId = await runAt(world, DECEMBER + 2 * HOUR_MS)
  world.deps.collect = collect
  const pay = () => collect(world.tenantId, runId, async () => undefined)
  return { world, pay, invoiceId: (await world.invoices())[0]!.id }
}
const runAt = (world: World, atMs: number) => {
  world.clock.nowMs = atMs
  return world.run()
}
const money = (minor: bigint) => formatMoney(minor, 'USD')

let keys = 0
const give = (world: World, invoiceId: string, change: Partial<IssueCreditNote> = {}) => {
  keys += 1
  const input = { invoiceId, idempotencyKey: `k-${keys}`, reason: 'Sorry', amount: null, lines: null, ...change }
  return world.transact(world.tenantId, (tx) => issueCreditNote(tx, input, world))
}
const standing = async (world: World) => {
  const [invoice] = await world.invoices()
  const { amountDueMinor, settledMinor, creditedMinor, state } = invoice!
  return `${money(amountDueMinor - settledMinor)} due, ${money(creditedMinor)} credited, ${state}`
}
const balance = async (world: World) => {
  const { balances, entries } = await world.transact(world.tenantId, (tx) =>
    readBalance(tx, 'a', { after: null, limit: 99 }),
  )
  const [last] = balances
  expect(entries.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)).toBe(last?.balanceMinor ?? 0n)
  return money(last?.balanceMinor ?? 0n)
}

describe('a credit note', () => {
  test('on an unpaid invoice lowers what is due: the gateway is asked for the rest', async () => {
    const { world, pay, invoiceId } = await owing()
    const { note } = await give(world, invoiceId, { lines: [{ line: 1, amount: '3.00' }] })
    expect(note).toMatchObject({ number: 'CN-000001', totalMinor: 300n, settledMinor: 300n, balanceMinor: 0n })
    expect(await standing(world)).toBe('22.00 due, 3.00 credited, finalised')
    await pay()
    expect(world.charged.map(({ amountMinor }) => amountMinor)).toEqual([2_200n])
    expect(await standing(world)).toBe('22.00 due, 3.00 credited, paid')
    expect(await balance(world)).toBe('0.00')
  })

  test('on a paid one becomes balance; all together come to the invoice exactly, and never beyond it', async () => {
    const { world, pay, invoiceId } = await owing()
    await pay()
    await give(world, invoiceId, { amount: '10.01' })
    await give(world, invoiceId, { lines: [{ line: 1, amount: null }] })
    await expect(give(world, invoiceId, { amount: '25.00' })).rejects.toMatchObject({
      code: 'invalid_request',
      options: { errors: [{ path: 'amount', message: 'This must be above 0, and at most what is left: 11.99.' }] },
    })
    await expect(give(world, invoiceId, { lines: [{ line: 1, amount: '0.01' }] })).rejects.toThrow('cannot be credited')
    await give(world, invoiceId)
    await expect(give(world, invoiceId)).rejects.toMatchObject({ code: 'invalid_request' })
    const notes = await world.transact(world.tenantId, (tx) => readCreditNotes(tx, invoiceId))
    // 10.01 by what is left of 20.00 and 5.00; then all of line 1; then what is left.
    expect(
      notes.map(({ number, totalMinor, lines }) => [number, totalMinor, lines.map((line) => line.netMinor)]),
    ).toEqual([
      ['CN-000001', 1_001n, [801n, 200n]],
      ['CN-000002', 300n, [300n]],
      ['CN-000003', 1_199n, [1_199n]],
    ])
    expect(await standing(world)).toBe('25.00 due, 25.00 credited, paid')
    expect(await balance(world)).toBe('25.00')
  })

  test('of everything that is due leaves nothing to pay', async () => {
    const { world, pay, invoiceId } = await owing()
    await give(world, invoiceId)
    expect(await standing(world)).toBe('0.00 due, 25.00 credited, paid')
    await pay()
    expect(world.charged).toEqual([])
  })

  test('while a payment is on its way goes to the balance: the gateway may take all of it', async () => {
    const { world, invoiceId } = await owing()
    await world.transact(world.tenantId, (tx) =>
      tx.query(
        `INSERT INTO payments (tenant_id, id, invoice_id, gateway, idempotency_key, amount_minor, currency, state, created_at)
         VALUES (app_tenant(), $1, $2, 'manual', 'k', 2500, 'USD', 'unknown', now())`,
        [world.newId(), invoiceId],
      ),
    )
    await give(world, invoiceId, { amount: '4.00' })
    expect([await standing(world), await balance(world)]).toEqual(['25.00 due, 4.00 credited, finalised', '4.00'])
  })

  test('is made once by its key: the same again answers it, another request is refused', async () => {
    const { world, invoiceId } = await owing()
    const wanted = { idempotencyKey: 'once', lines: [{ line: 0, amount: '1.00' }] }
    const made = await Promise.all([1, 2, 3].map(() => give(world, invoiceId, wanted)))
    expect(made.map(({ created }) => created).sort()).toEqual([false, false, true])
    expect(new Set(made.map(({ note }) => note.id)).size).toBe(1)
    expect(made[0]!.note).toEqual(made[1]!.note)
    await expect(give(world, invoiceId, { ...wanted, amount: '1.00', lines: null })).rejects.toMatchObject({
      code: 'conflict',
    })
    expect(await standing(world)).toBe('24.00 due, 1.00 credited, finalised')
    await expect(give(world, world.newId())).rejects.toMatchObject({ code: 'not_found' })
  })
})

describe('a balance', () => {
  test('pays invoices of runs at once, and never more than there is', async () => {
    const { world, pay, invoiceId } = await owing()
    await pay()
    await give(world, invoiceId, { amount: '24.50' })
    const free = {
      key: 'free',
      charges: [{ key: 'fee', name: 'Fee', meter: null, price: { model: 'flat', amount: '9' } }],
    }
    await world.plan(free as never)
    for (const externalKey of ['b', 'c', 'd']) {
      const terms = { externalKey, customer: 'a', planKey: 'free', startMs: DECEMBER, endMs: JANUARY }
      await world.transact(world.tenantId, (tx) => createSubscription(tx, terms, world))
    }
    world.clock.nowMs = JANUARY + 2 * HOUR_MS
    await Promise.all([1, 2, 3].map(() => world.run()))
    const issued = (await world.invoices()).slice(1)
    expect(issued).toHaveLength(4)
    expect(issued.map(({ balanceMinor }) => balanceMinor).reduce((sum, one) => sum + one, 0n)).toBe(2_450n)
    expect(issued.every((one) => one.totalMinor - one.creditMinor - one.balanceMinor === one.amountDueMinor)).toBe(true)
    expect(await balance(world)).toBe('0.00')
  })

  test('of 24.50 is spent once, however many want 20.00 of it at the same time', async () => {
    const { world, pay, invoiceId } = await owing()
    await pay()
    await give(world, invoiceId, { amount: '24.50' })
    world.clock.nowMs = Date.UTC(2024, 4, 2)
    const { applyBalance: apply } = world.deps
    world.deps.applyBalance = async () => new Map()
    await world.run()
    const [first, ...others] = await world.invoices()
    expect(others).toHaveLength(5)
    const { customer, subscriptionId } = first!
    let waiting = 0
    let open = () => {}
    const allAreThere = new Promise<void>((resolve) => {
      open = resolve
    })
    const taken = await Promise.all(
      others.map(({ id }) =>
        world.transact(world.tenantId, async (tx) => {
          waiting += 1
          if (waiting === others.length) open()
          await allAreThere
          const wanted = { id, customerId: customer.id, subscriptionId, currency: 'USD', totalMinor: 2_000n, lines: [] }
          const applied = await apply(tx, [wanted], new Map(), new Map(), world.clock.nowMs)
          return applied.get(id)?.balanceMinor ?? 0n
        }),
      ),
    )
    expect(taken.map(Number).sort((a, b) => b - a)).toEqual([2_000, 450, 0, 0, 0])
    expect(await balance(world)).toBe('0.00')
  })
})
