import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { NOVEMBER, type World } from '../../support/world.ts'
import { billed, historyOf, openDoors, secondMonth, tableDigests } from './reviewed-world.ts'

let database: TestDatabase
let tenants = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

type Body = Record<string, unknown>
type Draft = { subscription: string; amount: string; anomalies: string[]; id: string } & Body

async function opened() {
  tenants += 1
  const world = await secondMonth(database, `review-${tenants}`)
  return { world, ...openDoors(database, world) }
}

const ofDecember = async (world: World) => (await billed(world)).filter((line) => line.includes('2023-12'))

describe('a dry run of a whole run (issue 7, the batch)', () => {
  test('compares with the period before: spikes, drops, zeroes, missing, new and what would be parked', async () => {
    const { start, call, close } = await opened()
    const run = await start({ dry_run: true })
    expect(run).toMatchObject({
      state: 'completed',
      step: 'complete',
      dry_run: true,
      seal: null,
      subscriptions_due: 6,
      invoices_created: 0,
      parked: [],
    })
    const { body } = await call('GET', `/billing-runs/${run.id}/review`)
    expect(body).toMatchObject({
      billing_run_id: run.id,
      complete: true,
      totals: [
        {
          currency: 'USD',
          amount: '20710.00',
          previous: '1250.00',
          change: '19460.00',
          change_percent: '1556.8',
          invoices: 5,
          new: 1,
          gone: 1,
          parked: 1,
        },
      ],
      anomalies: { drop: 2, first_invoice_above: 1, missing: 1, parked: 1, spike: 1, zero: 1 },
      next: null,
    })
    const drafts = body.drafts as Draft[]
    expect(
      drafts.map((one) => [one.subscription, one.kind, one.previous, one.amount, one.change_percent, one.anomalies]),
    ).toEqual([
      ['fresh', 'invoice', null, '20000.00', null, ['first_invoice_above']],
      ['spike', 'invoice', '100.00', '500.00', '400', ['spike']],
      ['drop', 'invoice', '500.00', '100.00', '-80', ['drop']],
      ['gone', 'missing', '300.00', '0.00', '-100', ['missing']],
      ['zero', 'invoice', '200.00', '0.00', '-100', ['drop', 'zero']],
      ['broken', 'parked', '50.00', '0.00', '-100', ['parked']],
      ['steady', 'invoice', '100.00', '110.00', '10', []],
    ])
    expect(drafts.find(({ kind }) => kind === 'parked')!.reason).toContain('too large to be stored')
    expect(drafts.map(({ period_start, period_end }) => [period_start, period_end])).toEqual(
      Array(7).fill(['2023-12-01T00:00:00.000Z', '2024-01-01T00:00:00.000Z']),
    )
    await close()
  })

  test('is read in pages, by kind, by anomaly and as CSV', async () => {
    const { start, call, close, doors, world } = await opened()
    const { id } = await start({ dry_run: true })
    const all = (await call('GET', `/billing-runs/${id}/review`)).body.drafts as Draft[]
    const paged: Draft[] = []
    for (let after: unknown = '', pages = 0; after !== null; pages += 1) {
      expect(pages).toBeLessThan(9)
      const page = await call('GET', `/billing-runs/${id}/review?limit=2${after === '' ? '' : `&after=${after}`}`)
      paged.push(...(page.body.drafts as Draft[]))
      after = page.body.next
    }
    expect(paged).toEqual(all)
    const named = async (query: string) =>
      ((await call('GET', `/billing-runs/${id}/review?${query}`)).body.drafts as Draft[]).map((one) => one.subscription)
    expect(await named('kind=parked')).toEqual(['broken'])
    expect(await named('currency=EUR')).toEqual([])
    expect(await named('anomalies=only')).toEqual(['fresh', 'spike', 'drop', 'gone', 'zero', 'broken'])
    const csv = await doors.app.inject({
      url: `/api/v1/billing-runs/${id}/review?format=csv&limit=3`,
      headers: { 'x-tenant': String(world.tenantId) },
    })
    expect(csv.headers).toMatchObject({ 'content-type': 'text/csv; charset=utf-8', 'x-next-cursor': all[2]!.id })
    expect(csv.body.split('\r\n').slice(0, 2)).toEqual([
      'kind,customer,subscription,period_start,period_end,off_cycle,currency,amount,previous,change,anomalies,reason,issued',
      'invoice,fresh,fresh,2023-12-01T00:00:00.000Z,2024-01-01T00:00:00.000Z,false,USD,20000.00,,20000.00,first_invoice_above,,',
    ])
    await close()
  })

  test('leaves every table but its own, the runs and the history as it was', async () => {
    const { start, close } = await opened()
    const before = await tableDigests(database)
    await start({ dry_run: true })
    const after = await tableDigests(database)
    const changed = [...after].filter(([name, digest]) => before.get(name) !== digest).map(([name]) => name)
    expect(changed).toEqual(['billing_events', 'billing_run_drafts', 'billing_runs'])
    expect(after.size).toBeGreaterThan(30)
    await close()
  })

  test('is what the run then bills, and its rows say so', async () => {
    const { start, call, close, world } = await opened()
    const dry = await start({ dry_run: true })
    const drafts = (await call('GET', `/billing-runs/${dry.id}/review?kind=invoice`)).body.drafts as Draft[]
    const expected = drafts.map(({ subscription, amount }) => `${subscription} 2023-12 ${amount.replace('.', '')}`)
    await start()
    expect(await ofDecember(world)).toEqual(expected.map((line) => line.replace(/ 000$/, ' 0')).sort())
    await close()
  })

  test('has the difference that late usage makes, as the run then bills it', async () => {
    const { start, call, close, world } = await opened()
    world.use('steady', 'context_tokens', '7', NOVEMBER, world.clock.nowMs)
    const { id } = await start({ dry_run: true })
    const drafts = (await call('GET', `/billing-runs/${id}/review`)).body.drafts as Draft[]
    expect(drafts.find(({ subscription }) => subscription === 'steady')).toMatchObject({ amount: '117.00', lines: 2 })
    await start()
    expect(await ofDecember(world)).toContainEqual('steady 2023-12 11700')
    await close()
  })

  test('misses who has ended once, in the run that would have billed the next period', async () => {
    const { start, call, close, world } = await opened()
    await start()
    world.clock.nowMs += 32 * 86_400_000
    const { id } = await start({ dry_run: true })
    expect((await call('GET', `/billing-runs/${id}/review?kind=missing`)).body.drafts).toEqual([])
    await close()
  })
})

describe('approval by rule', () => {
  test('never, which is the default: a run bills at once and drafts nothing', async () => {
    const { start, call, close, world } = await opened()
    expect((await call('GET', '/billing-run-settings')).body).toMatchObject({ approval: 'never', updated_at: null })
    const run = await start()
    expect(run).toMatchObject({ state: 'completed', invoices_created: 5, parked_count: 1, approved_by: null })
    expect((await call('GET', `/billing-runs/${run.id}/review`)).body).toMatchObject({ complete: false, drafts: [] })
    expect(await ofDecember(world)).toHaveLength(5)
    await close()
  })

  test('on anomalies: the run waits with nothing billed; approved it bills by the same W, and says who did', async () => {
    const { start, call, left, settings, close, world } = await opened()
    await settings({ approval: 'on_anomaly' })
    const before = await billed(world)
    const waiting = await start()
    expect(waiting).toMatchObject({ state: 'awaiting_approval', step: 'review', invoices_created: 0, error: null })
    expect(await billed(world)).toEqual(before)
    // What comes now is known behind W.
    world.clock.nowMs += 1000
    world.use('steady', 'context_tokens', '7', Date.UTC(2023, 11, 9), world.clock.nowMs)
    const approve = () => call('POST', `/billing-runs/${waiting.id}/approve`)
    expect(await approve()).toMatchObject({ status: 202, body: { state: 'running', approved_by: 'k' } })
    const done = await left(waiting.id)
    expect(done).toMatchObject({ state: 'completed', invoices_created: 5, approved_by: 'k', seal: waiting.seal })
    expect(await ofDecember(world)).toContainEqual('steady 2023-12 11000')
    expect(await approve()).toMatchObject({ status: 202, body: { state: 'completed' } })
    const drafts = (await call('GET', `/billing-runs/${waiting.id}/review?kind=invoice`)).body.drafts as Draft[]
    expect(drafts.map(({ amount, issued }) => amount === issued)).toEqual(Array(5).fill(true))
    expect((await historyOf(world, 'billing_run.a%')).map(({ event }) => event)).toEqual([
      'billing_run.awaiting_approval',
      'billing_run.approved',
    ])
    expect(await historyOf(world, 'billing_run.approved')).toEqual([{ event: 'billing_run.approved', by: 'k' }])
    await close()
  })

  test('on anomalies: a run without any bills at once', async () => {
    const { start, settings, close } = await opened()
    const none = { spike: null, drop: null, zero: false, missing: false, parked: false, first_invoice_above: null }
    await settings({ approval: 'on_anomaly', rules: none })
    expect(await start()).toMatchObject({ state: 'completed', invoices_created: 5, approved_by: null })
    await close()
  })

  test('always: also where nothing is unusual; a dry run never waits', async () => {
    const { start, settings, call, close } = await opened()
    const none = { spike: null, drop: null, zero: false, missing: false, parked: false, first_invoice_above: null }
    const set = await settings({ approval: 'always', rules: none })
    expect(set.body).toMatchObject({ approval: 'always', rules: none })
    expect(await start()).toMatchObject({ state: 'awaiting_approval' })
    expect(await start({ dry_run: true })).toMatchObject({ state: 'completed' })
    const { billing_runs: waiting } = (await call('GET', '/billing-runs?state=awaiting_approval')).body
    expect(waiting).toHaveLength(1)
    await close()
  })

  test('rules are kept in full, changed in part, and told with who changed them', async () => {
    const { settings, call, close, world } = await opened()
    await settings({ rules: { first_invoice_above: '5.00' } })
    const { body } = await settings({ approval: 'always' })
    expect(body).toMatchObject({ approval: 'always', rules: { first_invoice_above: '5.00', zero: true } })
    expect((await call('GET', '/billing-run-settings')).body).toEqual(body)
    await settings({ approval: 'always' })
    expect(await historyOf(world, 'billing_run.settings_changed')).toMatchObject([
      { by: 'k', after: { approval: 'never' } },
      { by: 'k', after: { approval: 'always' } },
    ])
    expect(await call('PATCH', '/billing-run-settings', { approval: 'sometimes' })).toMatchObject({ status: 400 })
    const bad = { rules: { spike: { percent: '-1', amount: '1' } } }
    expect(await call('PATCH', '/billing-run-settings', bad)).toMatchObject({ status: 400 })
    await close()
  })

  test('what does not wait cannot be approved, and nobody approves another tenant’s run', async () => {
    const { start, settings, call, close } = await opened()
    const other = await opened()
    const done = await start()
    expect(await call('POST', `/billing-runs/${done.id}/approve`)).toMatchObject({
      status: 409,
      body: { code: 'illegal_state' },
    })
    await other.settings({ approval: 'always' })
    const waiting = await other.start()
    expect(await call('POST', `/billing-runs/${waiting.id}/approve`)).toMatchObject({ status: 404 })
    expect(await call('POST', `/billing-runs/${waiting.id}/cancel`)).toMatchObject({ status: 404 })
    expect(await call('GET', `/billing-runs/${waiting.id}/review`)).toMatchObject({ status: 404 })
    await settings({ approval: 'never' })
    await Promise.all([close(), other.close()])
  })
})
