import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Invoice } from '../../../../invoicer/billing/invoices/invoice.ts'
import { type Preview, previewInvoice } from '../../../../invoicer/billing/preview/preview-invoice.ts'
import { formatQuantity } from '../../../../schemas/quantity.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, NOW, TOO_MUCH, type World } from '../../support/world.ts'

const DAY_MS = 86_400_000
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

async function open(slug: string): Promise<World> {
  const world = await createWorld(database, slug)
  await world.plan()
  return world
}
const preview = (world: World, subscription: string, atMs: number | null = null) =>
  previewInvoice({ ...world, usage: world.deps.usage }, world.tenantId, { subscription, atMs, change: null })

/** What both have, as texts: all of a preview, and all of an invoice but number, state and seal. */
const ofPreview = ({ subscription, plan, period, draft }: Preview) => ({
  subscriptionId: subscription.id,
  customer: { id: subscription.customerId, externalKey: subscription.customerKey },
  planKey: plan.key,
  currency: plan.currency,
  periodStartMs: period.startMs,
  periodEndMs: period.endMs,
  lines: draft.lines.map(({ chargeKey, description, meter, amountMinor, breakdown, usage }, index) => {
    const counted = usage && { quantity: formatQuantity(usage.quantity), events: usage.events }
    return {
      index,
      chargeKey,
      description,
      meter,
      amountMinor,
      breakdown,
      ...counted,
      digest: usage && `${usage.digest}`,
    }
  }),
  totals: [draft.subtotalMinor, draft.taxMinor, draft.totalMinor, draft.amountDueMinor],
})
const ofInvoice = (invoice: Invoice) => ({
  subscriptionId: invoice.subscriptionId,
  customer: invoice.customer,
  planKey: invoice.planKey,
  currency: invoice.currency,
  periodStartMs: invoice.periodStartMs,
  periodEndMs: invoice.periodEndMs,
  lines: invoice.lines.map(({ index, chargeKey, description, meter, amountMinor, breakdown, usage }) => {
    const counted = usage && { quantity: usage.quantity, events: usage.events }
    return { index, chargeKey, description, meter, amountMinor, breakdown, ...counted, digest: usage?.digest ?? null }
  }),
  totals: [invoice.subtotalMinor, invoice.taxMinor, invoice.totalMinor, invoice.amountDueMinor],
})

/** Issue 7: preview of the coming invoice at any time. */
describe('the preview of a period', () => {
  test('that has ended is the invoice that the run then makes, line by line', async () => {
    const world = await open('equal')
    // Whole periods, cut ones, several subjects, nothing used, a time zone whose month begins elsewhere.
    await world.subscribe('whole', { endMs: null })
    await world.subscribe('cut', { startMs: NOVEMBER + 10 * DAY_MS, endMs: DECEMBER - DAY_MS })
    await world.subscribe('many', { subjects: ['m-1', 'm-2', 'm-3'], endMs: null })
    await world.subscribe('idle', { endMs: null })
    await world.subscribe('nobody', { subjects: [], endMs: null })
    await world.subscribe('west', { timezone: 'America/Los_Angeles', endMs: null })
    for (const subject of ['whole', 'cut', 'm-1', 'm-2', 'm-3', 'west']) {
      world.use(subject, 'context_tokens', '2182292.5', NOVEMBER + 12 * DAY_MS)
      world.use(subject, 'generated_tokens', '415760', DECEMBER - 2 * DAY_MS)
      world.use(subject, 'generated_tokens', '7', DECEMBER + 9 * DAY_MS)
    }
    world.clock.nowMs = JANUARY - 1
    const before = new Map<string, object>()
    for (const name of ['whole', 'cut', 'many', 'idle', 'nobody', 'west']) {
      const seen = await preview(world, name, NOVEMBER + 15 * DAY_MS)
      expect(seen.usageUntilMs).toBe(seen.period.endMs)
      before.set(seen.subscription.id, ofPreview(seen))
    }
    await world.run()
    const first = (await world.invoices()).filter(({ periodStartMs }) => periodStartMs < DECEMBER - DAY_MS)
    const november = first.filter(({ subscriptionId, periodStartMs }) => {
      return periodStartMs === (before.get(subscriptionId!) as { periodStartMs: number }).periodStartMs
    })
    expect(november).toHaveLength(6)
    for (const invoice of november) expect(before.get(invoice.subscriptionId!)).toEqual(ofInvoice(invoice))
    expect(new Set(november.map(({ totalMinor }) => totalMinor)).size).toBeGreaterThan(3)
  })

  test('that goes on has the usage known by now, and stores nothing', async () => {
    const world = await open('going')
    await world.subscribe('ann', { endMs: null })
    const nowMs = DECEMBER + 10 * DAY_MS + 30_000
    world.clock.nowMs = nowMs
    world.use('ann', 'context_tokens', '1000000', NOVEMBER)
    world.use('ann', 'context_tokens', '2000000', nowMs)
    // Used later: from the next minute on, which an emitter's clock may have reached.
    world.use('ann', 'context_tokens', '7000000', nowMs + 60_000, nowMs)
    const seen = await preview(world, 'ann')
    expect(seen.period).toMatchObject({ startMs: DECEMBER, endMs: JANUARY })
    expect(seen.usageUntilMs).toBe(DECEMBER + 10 * DAY_MS + 60_000)
    expect(seen.draft.lines.map(({ amountMinor }) => amountMinor)).toEqual([2000n, 600n, 0n])
    const stored = await world.transact(world.tenantId, (tx) =>
      tx.query('SELECT (SELECT count(*) FROM invoices) + (SELECT count(*) FROM seal_requests) AS rows'),
    )
    expect([stored.rows[0].rows, await world.invoices()]).toEqual(['0', []])
  })

  test('that has not begun is what it costs without usage', async () => {
    const world = await open('coming')
    await world.subscribe('ann', { endMs: null })
    const seen = await preview(world, 'ann', Date.UTC(2024, 6, 15))
    expect(seen.period.startMs).toBe(Date.UTC(2024, 6, 1))
    expect(seen.usageUntilMs).toBe(seen.period.startMs)
    expect(seen.draft.totalMinor).toBe(2000n)
  })

  test('is not there without a subscription, outside of the contract, and where the invoice is', async () => {
    const world = await open('none')
    const id = await world.subscribe('ann', { endMs: JANUARY })
    await expect(preview(world, 'nobody')).rejects.toMatchObject({ code: 'not_found' })
    await expect(preview(world, id, NOVEMBER - 1)).rejects.toMatchObject({
      code: 'illegal_state',
      message: expect.stringContaining('begins at 2023-11-01T00:00:00.000Z'),
    })
    await expect(preview(world, 'ann', JANUARY)).rejects.toMatchObject({
      code: 'illegal_state',
      message: expect.stringContaining('ends at 2024-01-01T00:00:00.000Z'),
    })
    world.clock.nowMs = DECEMBER + DAY_MS
    await world.run()
    await expect(preview(world, 'ann', DECEMBER - 1)).rejects.toMatchObject({
      code: 'illegal_state',
      message: expect.stringContaining('has its invoice'),
    })
    expect((await preview(world, 'ann', DECEMBER)).period.startMs).toBe(DECEMBER)
    world.clock.nowMs = NOW
    await world.run()
    await expect(preview(world, 'ann', JANUARY - 1)).rejects.toMatchObject({ code: 'illegal_state' })
  })

  test('whose amounts cannot stand on an invoice says why', async () => {
    const world = await open('negative')
    await world.subscribe('ann', { endMs: null })
    world.use('ann', 'context_tokens', TOO_MUCH, NOVEMBER)
    await expect(preview(world, 'ann', NOVEMBER)).rejects.toMatchObject({ code: 'calculation_failed' })
  })
})
