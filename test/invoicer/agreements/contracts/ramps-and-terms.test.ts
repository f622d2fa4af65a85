import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS, HOUR_MS } from '../../agreements/subscriptions/changing-world.ts'
import { JANUARY, NOVEMBER } from '../../support/world.ts'
import { billed, type ContractShop, fee, openContracts, planOf, privatePlans, tokens } from './contract-shop.ts'

let database: TestDatabase
let shops = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Plans of 100.00 and 200.00 a month. */
async function open(): Promise<ContractShop> {
  shops += 1
  const shop = await openContracts(database, `ramps-${shops}`)
  await shop.ok('POST', '/plans', planOf('small', [fee('100.00')]))
  await shop.ok('POST', '/plans', planOf('large', [fee('200.00')]))
  return shop
}
const start = '2023-11-01T00:00:00Z'
const subscription = (change: object) => ({ external_key: 's', customer: 'ann', plan: 'small', start, ...change })
const months = (count: number) => ({ interval: 'month', count })
const flat = (amount: string) => ({ charges: { base: { price: { model: 'flat', amount } } } })
const perSeat = (unit: string) => ({ model: 'per_unit', unit_amount: unit })
const totals = async (shop: ContractShop) => (await billed(shop, 'ann')).map((text) => text.split(' = ')[1])
const refusal = async (shop: ContractShop, change: object) => {
  const { status, body } = await shop.call('POST', '/subscriptions', subscription(change))
  return [status, (body.errors as { path: string }[] | undefined)?.[0]?.path]
}

describe('a ramp (issue 7: phases of a contract)', () => {
  test('three months at 100.00, then 200.00: previews say so, and runs bill it, once', async () => {
    const shop = await open()
    const body = subscription({ phases: [{ for: months(3) }, { plan: 'large' }] })
    const created = await shop.ok('POST', '/subscriptions', body)
    expect(created).toMatchObject({
      ...{ plan: 'small', pending_plan: { plan: 'large', at: '2024-02-01T00:00:00.000Z' } },
      phases: [{ plan: 'small' }, { plan: 'large', start: '2024-02-01T00:00:00.000Z' }],
    })
    expect(await shop.call('POST', '/subscriptions', body)).toEqual({ status: 200, body: created })
    const coming = async (at: string) => (await shop.ok('GET', `/subscriptions/s/preview?at=${at}`)).subtotal
    expect([await coming('2024-01-31T00:00:00Z'), await coming('2024-02-01T00:00:00Z')]).toEqual(['100.00', '200.00'])
    shop.clock.nowMs = Date.UTC(2024, 3, 1) + 2 * HOUR_MS
    await shop.run()
    await shop.run()
    expect(await totals(shop)).toEqual(['100.00', '100.00', '100.00', '200.00', '200.00'])
    // Sent again after all that it is the same still.
    expect((await shop.call('POST', '/subscriptions', body)).status).toBe(200)
  })

  test('fees in advance: the invoice of the month before has the first fee of the next step', async () => {
    const shop = await open()
    await shop.ok('POST', '/plans', planOf('ahead', [fee('100.00')], { fees: 'in_advance' }))
    const phases = [{ for: months(2), overrides: flat('80.00') }, {}]
    await shop.ok('POST', '/subscriptions', subscription({ plan: 'ahead', phases }))
    for (const month of [10, 11, 12, 13]) {
      shop.clock.nowMs = Date.UTC(2023, month, 1) + 2 * HOUR_MS
      await shop.run()
    }
    expect((await totals(shop)).sort()).toEqual(['100.00', '100.00', '80.00', '80.00'])
  })

  test('steps at prices of its own, from the 31st on: each begins where its months are over since the start', async () => {
    const shop = await open()
    const phases = [
      { for: months(1), overrides: flat('10.00') },
      { for: months(1), overrides: flat('20.00') },
      { for: { interval: 'week', count: 1 }, overrides: flat('10.0') },
      {},
    ]
    const body = subscription({ start: '2024-01-31T00:00:00Z', phases })
    const { phases: laid } = (await shop.ok('POST', '/subscriptions', body)) as { phases: { start: string }[] }
    expect(laid.map((phase) => phase.start.slice(0, 10))).toEqual([
      ...['2024-01-31', '2024-02-29', '2024-03-31', '2024-04-07'],
    ])
    // The first and the third are on the same version.
    expect(await privatePlans(shop)).toBe(2)
  })

  test('a trial lies over it, and does not move it', async () => {
    const shop = await open()
    const phases = [{ for: months(1) }, { plan: 'large' }]
    await shop.ok('POST', '/subscriptions', subscription({ trial_end: '2023-12-16T12:00:00Z', phases }))
    shop.clock.nowMs = Date.UTC(2024, 1, 1) + 2 * HOUR_MS
    await shop.run()
    // Half of December, 15.5 of 31 days, is billed.
    expect(await totals(shop)).toEqual(['0.00', '100.00', '200.00'])
  })

  test('seats go on from step to step, each at the price of its step, and sent again it is the same', async () => {
    const shop = await open()
    const seats = { key: 'seats', name: 'Seats', quantity: { default: '1' }, price: perSeat('10.00') }
    await shop.ok('POST', '/plans', planOf('seated', [seats]))
    const phases = [{ for: months(1), plan: 'seated', overrides: { charges: { seats: { price: perSeat('8.00') } } } }]
    const body = subscription({ phases: [...phases, { plan: 'seated' }], quantities: { seats: 5 } })
    const created = await shop.ok('POST', '/subscriptions', body)
    expect(await shop.call('POST', '/subscriptions', body)).toEqual({ status: 200, body: created })
    expect((await shop.call('POST', '/subscriptions', { ...body, quantities: { seats: 6 } })).status).toBe(409)
    shop.clock.nowMs = JANUARY + 2 * HOUR_MS
    await shop.run()
    expect(await totals(shop)).toEqual(['40.00', '50.00'])
  })

  test('sent again it is the same also after a change to a plan that would not take what was sent', async () => {
    const shop = await open()
    const seats = (quantity: object) => ({ key: 'seats', name: 'Seats', quantity, price: perSeat('10.00') })
    await shop.ok('POST', '/plans', planOf('wide', [seats({ default: '1' })]))
    await shop.ok('POST', '/plans', planOf('narrow', [seats({ default: '1', max: '10' })]))
    await shop.ok('POST', '/plans', planOf('support', [fee('5.00')], { kind: 'add_on' }))
    const overrides = { charges: { seats: { price: perSeat('8.00') } } }
    const body = subscription({ plan: 'wide', overrides, quantities: { seats: 50 }, add_ons: [{ plan: 'support' }] })
    const created = await shop.ok('POST', '/subscriptions', body)
    shop.clock.nowMs = NOVEMBER + 15 * DAY_MS
    await shop.ok('PATCH', '/subscriptions/s', { plan: 'narrow', quantities: { seats: 10 }, when: 'now' })
    const { phases: _, ...same } = await shop.ok('GET', '/subscriptions/s')
    expect(same).toMatchObject({ id: created.id, plan: 'narrow' })
    expect(await shop.call('POST', '/subscriptions', body)).toMatchObject({ status: 200, body: same })
    expect((await shop.call('POST', '/subscriptions', { ...body, quantities: { seats: 49 } })).status).toBe(409)
    expect((await shop.call('POST', '/subscriptions', { ...body, add_ons: [] })).status).toBe(409)
  })

  test('what cannot follow is refused, and nothing is stored', async () => {
    const shop = await open()
    await shop.ok('POST', '/plans', planOf('yearly', [fee('1.00')], { interval: 'year' }))
    await shop.ok('POST', '/plans', planOf('yen', [fee('1')], { currency: 'JPY' }))
    expect(await refusal(shop, { phases: [{}, { plan: 'large' }] })).toEqual([400, 'phases.0.for'])
    expect(await refusal(shop, { phases: [{ for: months(1) }] })).toEqual([400, 'phases.0.for'])
    expect(await refusal(shop, { phases: [{ for: months(1) }, { plan: 'none' }] })).toEqual([400, 'phases.1.plan'])
    expect(await refusal(shop, { phases: [{ for: months(1) }, { plan: 'yearly' }] })).toEqual([400, 'phases.1.plan'])
    expect(await refusal(shop, { phases: [{ for: months(1) }, { plan: 'yen' }] })).toEqual([400, 'phases.1.plan'])
    const strange = [{ for: months(1) }, { overrides: { charges: { x: null } } }]
    expect(await refusal(shop, { phases: strange })).toEqual([400, 'phases.1.overrides.charges.x'])
    const end = '2023-12-01T00:00:00Z'
    expect(await refusal(shop, { end, phases: [{ for: months(1) }, {}] })).toEqual([400, 'phases.1'])
    expect(await refusal(shop, { overrides: flat('1'), phases: [{}] })).toEqual([400, 'overrides'])
    expect((await shop.ok('GET', '/subscriptions')).subscriptions).toEqual([])
    expect(await privatePlans(shop)).toBe(0)
  })
})

describe('a term that was signed for (issue 7: contract end, renewal terms)', () => {
  const year = { interval: 'month', count: 12 }

  test('twelve months that end: twelve invoices and no more', async () => {
    const shop = await open()
    const created = await shop.ok('POST', '/subscriptions', subscription({ term: { ...year, renewal: 'end' } }))
    const end = '2024-11-01T00:00:00.000Z'
    expect(created).toMatchObject({ end, contract_end: end })
    shop.clock.nowMs = Date.UTC(2025, 2, 1) + 2 * HOUR_MS
    await shop.run()
    expect(await totals(shop)).toEqual(Array.from({ length: 12 }, () => '100.00'))
  })

  test('twelve months that renew go on, until they are cancelled with the term, which can be taken back', async () => {
    const shop = await open()
    await shop.ok('POST', '/subscriptions', subscription({ term: { ...year, notice_days: 30 } }))
    shop.clock.nowMs = Date.UTC(2024, 11, 15)
    const cancelled = await shop.ok('PATCH', '/subscriptions/s', { cancel: 'term_end' })
    expect(cancelled).toMatchObject({ state: 'cancelled', end: '2025-11-01T00:00:00.000Z', contract_end: null })
    expect(await shop.ok('PATCH', '/subscriptions/s', { cancel: 'term_end' })).toEqual(cancelled)
    expect(await shop.ok('PATCH', '/subscriptions/s', { cancel: null })).toMatchObject({ state: 'active', end: null })
    // Thirty days before the end is in time, a minute later is not.
    const lastMs = Date.UTC(2025, 10, 1) - 30 * DAY_MS
    const ends = async (nowMs: number) => {
      shop.clock.nowMs = nowMs
      return ((await shop.ok('GET', '/subscriptions/s/terms')).term as { cancelled_now_ends: string })
        .cancelled_now_ends
    }
    expect([await ends(lastMs), await ends(lastMs + 60_000)].map((text) => text.slice(0, 4))).toEqual(['2025', '2026'])
    shop.clock.nowMs = lastMs
    await shop.ok('PATCH', '/subscriptions/s', { cancel: 'term_end' })
    shop.clock.nowMs = Date.UTC(2026, 5, 1)
    await shop.run()
    expect(await totals(shop)).toHaveLength(24)
    expect(await shop.ok('GET', '/subscriptions/s')).toMatchObject({ state: 'ended', end: '2025-11-01T00:00:00.000Z' })
  })

  test('renewed on the catalogue it costs what the catalogue says from then on', async () => {
    const shop = await open()
    const term = { ...months(2), renew_on: 'catalog' }
    await shop.ok('POST', '/subscriptions', subscription({ term, overrides: flat('70.00') }))
    shop.clock.nowMs = Date.UTC(2024, 2, 1) + 2 * HOUR_MS
    await shop.run()
    expect(await totals(shop)).toEqual(['70.00', '70.00', '100.00', '100.00'])
  })

  test('what does not go together is refused', async () => {
    const shop = await open()
    const end = '2024-11-01T00:00:00Z'
    expect(await refusal(shop, { end, term: year })).toEqual([400, 'end'])
    expect(await refusal(shop, { term: { ...year, renewal: 'end', renew_on: 'catalog' } })).toEqual([
      400,
      'term.renew_on',
    ])
    const late = [{ for: months(12) }, { plan: 'large' }]
    expect(await refusal(shop, { phases: late, term: { ...year, renew_on: 'catalog' } })).toEqual([400, 'phases'])
    await shop.ok('POST', '/subscriptions', subscription({}))
    const { status, body } = await shop.call('PATCH', '/subscriptions/s', { cancel: 'term_end' })
    expect([status, body.code]).toEqual([409, 'illegal_state'])
  })

  test('a term and a ramp with usage: a step inside the term is billed at its own price', async () => {
    const shop = await open()
    await shop.ok('POST', '/plans', planOf('metered', [tokens('0.01')]))
    const cheap = { charges: { use: { price: { model: 'per_unit', unit_amount: '0.005' } } } }
    const phases = [{ for: months(1), overrides: cheap }, {}]
    await shop.ok(
      'POST',
      '/subscriptions',
      subscription({ plan: 'metered', phases, term: { ...months(2), renewal: 'end' } }),
    )
    for (const month of [10, 11, 12]) shop.use('ann', 'context_tokens', '1000', Date.UTC(2023, month, 2))
    shop.clock.nowMs = NOVEMBER + 120 * DAY_MS
    await shop.run()
    expect(await totals(shop)).toEqual(['5.00', '10.00'])
  })
})
