import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import { type Progress, RUN_STEPS } from '../../../../invoicer/billing/run/steps.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { NOVEMBER } from '../../support/world.ts'
import type { Shop } from '../tax/shop.ts'
import { type Group, invoiceOf, invoicesOf, openGroup, place } from './group.ts'

let database: TestDatabase
let shops = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Three subscriptions in chunks of two: the parts of one invoice stand in two chunks. */
async function group(): Promise<Group> {
  shops += 1
  const shop = await openGroup(database, `gathered-${shops}`, { consolidate: true })
  shop.deps.chunkSize = 2
  const grant = { external_key: 'g', amount: '25.00' }
  expect((await shop.call('POST', '/customers/acme/credits', grant)).status).toBe(201)
  return shop
}

const open = (shop: Shop) => shop.transact(shop.tenantId, async (tx) => (await openRun(tx, { asOfMs: null }, shop)).id)
const work = (shop: Shop, runId: string, wrap: (write: Progress) => Progress = (write) => write) =>
  runBilling({ ...shop.deps }, wrap(progressInPostgres(shop.transact, shop.tenantId, runId)), shop.tenantId, runId)

/** One number, one payment, one draw on the credit, and each of what tells of it once. */
async function expectGatheredOnce(shop: Shop): Promise<void> {
  const invoice = await invoiceOf(shop)
  expect(invoice).toMatchObject({ number: 'HELLAS-000001', state: 'paid', total: '41.95', credit: '25.00' })
  expect(invoice.lines.map(({ amount }) => amount)).toEqual(['10.00', '20.50', '3.33'])
  expect(shop.charged.map(({ amountMinor }) => amountMinor)).toContain(1695n)
  expect(new Set(shop.charged.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1)
  const { rows } = await shop.transact(shop.tenantId, (tx) =>
    tx.query(
      `SELECT (SELECT count(*)::integer FROM invoices) AS invoices,
         (SELECT count(*)::integer FROM invoice_parts WHERE consolidated_id IS NOT NULL) AS gathered,
         (SELECT count(*)::integer FROM invoice_parts WHERE consolidated_id IS NULL) AS waiting,
         (SELECT count(*)::integer FROM credit_uses) AS uses, (SELECT count(*)::integer FROM payments) AS payments,
         (SELECT last_number::integer FROM legal_entities) AS last_number,
         (SELECT count(*)::integer FROM billing_events WHERE event = 'invoice.finalised') AS finalised,
         (SELECT count(*)::integer FROM outbox o JOIN billing_events e ON e.id = o.event_id
          WHERE e.event = 'invoice.paid') AS told_paid`,
    ),
  )
  expect(rows).toEqual([
    { invoices: 4, gathered: 3, waiting: 0, uses: 1, payments: 1, last_number: 1, finalised: 1, told_paid: 1 },
  ])
}

describe('what a run issues to a payer is gathered once (EPIC-3)', () => {
  test('however often it runs, and by however many runners of one run at once', async () => {
    const shop = await group()
    const runId = await open(shop)
    await Promise.all([1, 2, 3, 4].map(() => work(shop, runId)))
    await expectGatheredOnce(shop)
    await work(shop, runId)
    await shop.run()
    await expectGatheredOnce(shop)
  })

  test('by runs at once each subscription is billed once, on the invoice of one of them', async () => {
    const shop = await group()
    await Promise.all([1, 2, 3].map(() => shop.run()))
    const invoices = await invoicesOf(shop)
    const parts = invoices.flatMap((one) => one.parts.map((part) => `${part.customer.external_key} ${part.total}`))
    expect(parts.sort()).toEqual(['acme 12.40', 'north 25.42', 'south 4.13'])
    expect(invoices.map(({ number }) => number).sort()).toEqual(invoices.map((_, index) => `HELLAS-00000${index + 1}`))
    expect(invoices.reduce((sum, { credit }) => sum + Number(credit), 0)).toBe(25)
  })

  test.each(RUN_STEPS)('by whoever continues a run that died as step %s began', async (step) => {
    const shop = await group()
    const runId = await open(shop)
    const dying = (write: Progress): Progress => {
      return async (begun) => {
        await write(begun)
        if (begun === step) throw new Error('killed')
      }
    }
    await expect(work(shop, runId, dying)).rejects.toThrow('killed')
    await expect(work(shop, runId)).resolves.toBe('completed')
    await expectGatheredOnce(shop)
  })

  test('also where it dies within the step: nothing of the invoice is left', async () => {
    const shop = await group()
    const runId = await open(shop)
    const { applyBalance } = shop.deps
    shop.deps.applyBalance = (tx, invoices, ...rest) => {
      if (invoices.some(({ subscriptionId }) => subscriptionId === null)) throw new Error('killed')
      return applyBalance(tx, invoices, ...rest)
    }
    await expect(work(shop, runId)).rejects.toThrow('killed')
    expect(await invoicesOf(shop)).toEqual([])
    const credits = await shop.call('GET', '/customers/acme/credits')
    expect(JSON.stringify(credits.body)).toContain('"remaining":"25.00"')
    shop.deps.applyBalance = applyBalance
    await work(shop, runId)
    await expectGatheredOnce(shop)
  })
})

describe('parts that nobody gathered', () => {
  test('because their run was cancelled are shown to nobody, and on the invoice of the next run', async () => {
    const shop = await group()
    const runId = await open(shop)
    const cancelling = (write: Progress): Progress => {
      return async (step) => {
        await write(step)
        if (step === 'consolidate') {
          expect((await shop.call('POST', `/billing-runs/${runId}/cancel`)).status).toBe(200)
        }
      }
    }
    expect(await work(shop, runId, cancelling)).toBe('cancelled')
    expect(await invoicesOf(shop)).toEqual([])
    expect(shop.charged).toEqual([])
    await shop.run()
    await expectGatheredOnce(shop)
  })

  test('have less usage given back once they are gathered: until then their subscription is parked', async () => {
    const shop = await group()
    const runId = await open(shop)
    const dying = (write: Progress): Progress => {
      return async (begun) => {
        await write(begun)
        if (begun === 'consolidate') throw new Error('killed')
      }
    }
    await expect(work(shop, runId, dying)).rejects.toThrow('killed')
    const later = async () => {
      shop.clock.nowMs += 3_600_000
      return shop.transact(shop.tenantId, async (tx) => readRun(tx, await shop.run()))
    }
    shop.use('south', 'context_tokens', '-133', NOVEMBER, shop.clock.nowMs + 1)
    const { parked } = await later()
    expect(parked.map(({ reason }) => reason)).toEqual([expect.stringContaining('has not issued its invoice yet')])
    await work(shop, runId)
    expect(await invoiceOf(shop)).toMatchObject({ total: '41.95', credited: '0.00' })
    expect((await later()).parked).toEqual([])
    expect(await invoiceOf(shop)).toMatchObject({ total: '41.95', credited: '1.65' })
  })

  test('because together they are more than can be stored are gathered by halves, and nobody is parked', async () => {
    const shop = await group()
    for (const name of ['big', 'bigger']) {
      await shop.subscribe(name)
      shop.use(name, 'context_tokens', '6000000000000000000', NOVEMBER)
    }
    await place(shop, 'big', { consolidate: true, billing_address: { country: 'GR' } })
    await place(shop, 'bigger', { parent: 'big', pays: 'parent' })
    const runId = await shop.run()
    expect(await invoiceOf(shop, '?customer=acme')).toMatchObject({ total: '41.95' })
    const halves = await invoicesOf(shop, '?customer=big')
    expect(halves.map(({ parts }) => parts.map((part) => part.customer.external_key).join()).sort()).toEqual([
      'big',
      'bigger',
    ])
    const run = await shop.transact(shop.tenantId, (tx) => readRun(tx, runId))
    expect(run).toMatchObject({ state: 'completed', parkedCount: 0 })
  })

  test('because one of them cannot be are without that one; it is parked with a reason, and the next run takes it', async () => {
    const shop = await group()
    const { applyBalance } = shop.deps
    shop.deps.applyBalance = (tx, invoices, ...rest) => {
      const isAtFault = ({ subscriptionId, lines }: (typeof invoices)[number]) =>
        subscriptionId === null && lines.some(({ amountMinor }) => amountMinor === 2050n)
      if (invoices.some(isAtFault)) throw new Problem('calculation_failed', 'too much')
      return applyBalance(tx, invoices, ...rest)
    }
    const runId = await shop.run()
    const totals = (await invoicesOf(shop)).map(({ total }) => total)
    expect(totals.reduce((sum, total) => sum + Number(total), 0)).toBeCloseTo(16.53)
    const { parked } = await shop.transact(shop.tenantId, (tx) => readRun(tx, runId))
    expect(parked.map(({ reason }) => reason)).toEqual([expect.stringContaining('cannot be stored: too much')])
    shop.deps.applyBalance = applyBalance
    await shop.run()
    expect((await invoicesOf(shop)).map(({ total }) => total)).toContain('25.42')
  })

  test('because one invoice has so many at most are on another one of the same run', async () => {
    const shop = await group()
    shop.deps.partsPerInvoice = 2
    await shop.run()
    const invoices = await invoicesOf(shop)
    expect(invoices.map(({ number, parts }) => `${number}: ${parts.length}`).sort()).toEqual([
      'HELLAS-000001: 2',
      'HELLAS-000002: 1',
    ])
    const parts = invoices.flatMap((one) => one.parts.map(({ customer, total }) => `${customer.external_key} ${total}`))
    expect(parts.sort()).toEqual(['acme 12.40', 'north 25.42', 'south 4.13'])
    expect(invoices.reduce((sum, { credit }) => sum + Number(credit), 0)).toBe(25)
  })

  test('cannot be voided or credited, and say what to do instead', async () => {
    const shop = await group()
    const runId = await open(shop)
    const dying = (write: Progress): Progress => {
      return async (begun) => {
        await write(begun)
        if (begun === 'consolidate') throw new Error('killed')
      }
    }
    await expect(work(shop, runId, dying)).rejects.toThrow('killed')
    const { rows } = await shop.transact(shop.tenantId, (tx) =>
      tx.query<{ id: string }>("SELECT id FROM invoices WHERE state = 'part' LIMIT 1"),
    )
    const [part] = rows
    const asked = { reason: 'Wrong' }
    for (const path of ['void', 'reissue', 'uncollectible', 'credit-notes']) {
      const { status, body } = await shop.keyed(`/invoices/${part?.id}/${path}`, 'k', asked)
      expect([path, status, typeof body.detail]).toEqual([path, 409, 'string'])
    }
    await work(shop, runId)
    await expectGatheredOnce(shop)
    const answer = await shop.keyed(`/invoices/${part?.id}/void`, 'k', asked)
    expect(answer.status).toBe(409)
    expect(String(answer.body.detail)).toContain((await invoiceOf(shop)).id)
  })
})
