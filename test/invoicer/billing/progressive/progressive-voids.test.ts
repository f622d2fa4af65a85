import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { changeSubscription } from '../../../../invoicer/agreements/subscriptions/change-subscription.ts'
import { isDowngrade } from '../../../../invoicer/billing/is-downgrade.ts'
import { putThreshold } from '../../../../invoicer/billing/progressive/change-threshold.ts'
import { keepRuns } from '../../../../invoicer/billing/run/keep-runs.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import type { Progress } from '../../../../invoicer/billing/run/steps.ts'
import { changeInvoice } from '../../../../invoicer/collection/voids/change-invoice.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'
import { HELLAS, inGreece, openShop, type Shop } from '../tax/shop.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const CHANGED = NOVEMBER + 2 * DAY_MS
let database: TestDatabase
let shops = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** `a` pays 0.01 a token, used 2000 by 1 November, has a threshold of 10.00 and goes on. Nobody is charged. */
async function shop(details: object): Promise<Shop> {
  shops += 1
  const open = await openShop(database, `progressive-voids-${shops}`)
  open.deps.collect = async () => true
  open.clock.nowMs = NOVEMBER
  await open.subscribe('a', { endMs: null })
  await patch(open, details)
  use(open, '2000', NOVEMBER)
  await open.transact(open.tenantId, (tx) => putThreshold(tx, { subscription: 'a', threshold: '10.00' }, open))
  return open
}
async function patch(open: Shop, details: object): Promise<void> {
  expect(await open.call('PATCH', '/customers/a', details)).toMatchObject({ status: 200 })
}
const use = (open: Shop, quantity: string, atMs: number) => open.use('a', 'context_tokens', quantity, atMs)
async function runAt(open: Shop, atMs: number, progress?: (write: Progress) => Progress): Promise<void> {
  open.clock.nowMs = atMs
  await open.run(atMs, progress)
}
const changed = (open: Shop, invoiceId: string, change: 'void' | 'reissue') =>
  open.transact(open.tenantId, (tx) =>
    changeInvoice(tx, { invoiceId, change, reason: 'wrong', idempotencyKey: change }, open),
  )
const cancel = (open: Shop) =>
  open.transact(open.tenantId, (tx) => changeSubscription(tx, 'a', { cancel: 'now' }, null, { ...open, isDowngrade }))
/** State, subtotal, and how many parts. */
async function standing(open: Shop): Promise<string[]> {
  const all = (await open.call('GET', '/invoices')).body.invoices as {
    state: string
    subtotal: string
    parts?: unknown[]
  }[]
  return all.map(({ state, subtotal, parts }) => `${state} ${subtotal} of ${parts?.length ?? 0}`)
}

describe('where the seller changed inside of a period', () => {
  /** It used to be taken off at the first seller once more, by each invoice in the place of a void one. */
  test.each([
    ['a progressive invoice is not voided', 'void', NOVEMBER + 3 * DAY_MS],
    ['nor is the invoice of the period issued anew', 'reissue', DECEMBER + 2 * HOUR_MS],
  ] as const)('%s: what the one before billed was given back by another', async (_, how, atMs) => {
    const open = await shop(inGreece)
    await runAt(open, NOVEMBER + DAY_MS)
    expect((await open.call('POST', '/legal-entities', { ...HELLAS, key: 'attica' })).status).toBe(201)
    await patch(open, { legal_entity: 'attica' })
    use(open, '1500', CHANGED)
    await runAt(open, atMs)
    const invoices = await open.invoices()
    expect(invoices.map(({ subtotalMinor }) => formatMoney(subtotalMinor, 'USD')).sort()).toEqual([
      '-20.00',
      '20.00',
      '35.00',
    ])
    const { id } = invoices.find(({ subtotalMinor }) => subtotalMinor === 3500n)!
    await expect(changed(open, id, how)).rejects.toThrow('by two legal entities at once')
    await runAt(open, DECEMBER + 5 * HOUR_MS)
    const billed = (await open.invoices()).reduce((sum, { subtotalMinor }) => sum + subtotalMinor, 0n)
    expect(formatMoney(billed, 'USD')).toBe('35.00')
  })
})

test('one that is voided while the invoice of its period is issued anew is not taken off that', async () => {
  const open = await shop(inGreece)
  await runAt(open, NOVEMBER + DAY_MS)
  use(open, '500', CHANGED)
  await runAt(open, DECEMBER + 2 * HOUR_MS)
  expect(await standing(open)).toEqual(['finalised 20.00 of 0', 'finalised 5.00 of 0'])
  const [inside, own] = await open.invoices()
  open.clock.nowMs += HOUR_MS
  await changed(open, own!.id, 'reissue')
  const { usage } = open.deps
  let [step, isVoid] = ['', false]
  open.deps.usage = {
    ...usage,
    quantities: async (...question) => {
      const answer = await usage.quantities(...question)
      if (step === 'bill-again' && !isVoid) await changed(open, inside!.id, 'void')
      if (step === 'bill-again') isVoid = true
      return answer
    },
  }
  await runAt(open, DECEMBER + 5 * HOUR_MS, (write) => async (begun) => {
    step = begun
    await write(begun)
  })
  expect(isVoid).toBe(true)
  expect(await standing(open)).toEqual(['void 20.00 of 0', 'void 5.00 of 0', 'finalised 25.00 of 0'])
})

describe('an invoice that gathers parts', () => {
  const gathered = { ...inGreece, consolidate: true }

  test('with two progressive ones of a period is voided with both, and the next has all of it', async () => {
    const open = await shop(gathered)
    open.clock.nowMs = NOVEMBER + DAY_MS
    const { id } = await open.transact(open.tenantId, (tx) => openRun(tx, { asOfMs: null }, open))
    const write = progressInPostgres(open.transact, open.tenantId, id)
    const cancelling: Progress = async (step) => {
      await write(step)
      if (step === 'consolidate') expect((await open.call('POST', `/billing-runs/${id}/cancel`)).status).toBe(200)
    }
    expect(await runBilling(open.deps, cancelling, open.tenantId, id)).toBe('cancelled')
    use(open, '1500', CHANGED)
    await runAt(open, NOVEMBER + 3 * DAY_MS)
    expect(await standing(open)).toEqual(['finalised 35.00 of 2'])
    const [both] = await open.invoices()
    await changed(open, both!.id, 'void')
    await runAt(open, NOVEMBER + 4 * DAY_MS)
    await runAt(open, DECEMBER + 2 * HOUR_MS)
    expect(await standing(open)).toEqual(['void 35.00 of 2', 'finalised 35.00 of 1', 'finalised 0.00 of 1'])
  })

  test('with a period and a progressive one is issued anew: both come back', async () => {
    const open = await shop(gathered)
    use(open, '1500', DECEMBER + HOUR_MS)
    await runAt(open, DECEMBER + 2 * HOUR_MS)
    expect(await standing(open)).toEqual(['finalised 35.00 of 2'])
    const [before] = await open.invoices()
    open.clock.nowMs += HOUR_MS
    await changed(open, before!.id, 'reissue')
    await runAt(open, DECEMBER + 5 * HOUR_MS)
    await runAt(open, DECEMBER + 6 * HOUR_MS)
    expect(await standing(open)).toEqual(['void 35.00 of 2', 'finalised 35.00 of 2'])
  })
})

/** The end is at the whole minute: nothing of the period would be left that an invoice could settle. */
test('a period with a progressive invoice is not cancelled within its first minute', async () => {
  const open = await shop(inGreece)
  await runAt(open, NOVEMBER + 30_000)
  await expect(cancel(open)).rejects.toThrow('cancel it a minute later')
  open.clock.nowMs = NOVEMBER + 60_000
  await cancel(open)
  await runAt(open, NOVEMBER + 2 * HOUR_MS)
  expect(await standing(open)).toEqual(['finalised 20.00 of 0', 'finalised 0.00 of 0'])
})

test('a tick that can open no run reads no usage; one that can opens it for a threshold', async () => {
  const open = await shop(inGreece)
  open.clock.nowMs = NOVEMBER + HOUR_MS
  // What was billed is looked at once a day: that is no reason any more.
  await open.transact(open.tenantId, (tx) => tx.query('DELETE FROM progressive_billing'))
  await open.run()
  await open.transact(open.tenantId, (tx) => putThreshold(tx, { subscription: 'a', threshold: '10.00' }, open))
  const { id } = await open.transact(open.tenantId, (tx) => openRun(tx, { asOfMs: null }, open))
  expect((await open.call('POST', `/billing-runs/${id}/cancel`)).status).toBe(200)
  const quantities = vi.fn(open.deps.usage.quantities)
  const keeper = keepRuns(
    {
      ...open.deps,
      usage: { ...open.deps.usage, quantities },
      progressOf: (tenantId, runId) => progressInPostgres(open.transact, tenantId, runId),
      tenantIds: async () => [open.tenantId],
      logger: { error: vi.fn() },
    },
    new AbortController().signal,
  )
  await keeper.tick()
  expect([quantities.mock.calls.length, await standing(open)]).toEqual([0, []])
  await open.transact(open.tenantId, (tx) => tx.query('DELETE FROM progressive_billing'))
  open.clock.nowMs += 1_000
  await open.run()
  await open.transact(open.tenantId, (tx) => putThreshold(tx, { subscription: 'a', threshold: '10.00' }, open))
  open.clock.nowMs += 1_000
  await keeper.tick()
  expect(await standing(open)).toEqual(['finalised 20.00 of 0'])
})
