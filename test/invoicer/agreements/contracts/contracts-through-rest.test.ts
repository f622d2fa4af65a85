import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadPlans, type PlanCache } from '../../../../invoicer/billing/run/billable-plans.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS, HOUR_MS } from '../../agreements/subscriptions/changing-world.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { billed, type ContractShop, fee, openContracts, planOf, privatePlans, tokens } from './contract-shop.ts'

let database: TestDatabase
let shops = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** A plan of 100.00 and 0.01 a token, in the catalogue. */
async function open(): Promise<ContractShop> {
  shops += 1
  const shop = await openContracts(database, `contracts-${shops}`)
  await shop.ok('POST', '/plans', planOf('list', [fee('100.00'), tokens('0.01')]))
  return shop
}
const start = '2023-11-01T00:00:00Z'
const cheaper = { charges: { use: { price: { model: 'per_unit', unit_amount: '0.008' } } } }
const subscription = (name: string, change: object = {}) => {
  return { external_key: `${name}-s`, customer: name, plan: 'list', start, ...change }
}
const perUnit = (unit: string) => ({ model: 'per_unit', unit_amount: unit })

describe('prices that a customer negotiated, through the doors (issue 7: price overrides)', () => {
  test('1,000 tokens at 0.008 instead of 0.01 are 8.00, and everybody else pays 10.00', async () => {
    const shop = await open()
    const created = await shop.ok('POST', '/subscriptions', subscription('ann', { overrides: cheaper }))
    expect(created).toMatchObject({ plan: 'list', plan_version: 1, phases: [{ plan: 'list', negotiated: true }] })
    await shop.ok('POST', '/subscriptions', subscription('bob'))
    for (const name of ['ann', 'bob']) shop.use(name, 'context_tokens', '1000', NOVEMBER)
    shop.clock.nowMs = DECEMBER - 1
    const preview = await shop.ok('GET', '/subscriptions/ann-s/preview')
    expect(preview).toMatchObject({ subtotal: '108.00', plan: 'list' })
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    // Another run bills nothing again.
    await shop.run()
    expect(await billed(shop, 'ann')).toEqual(['2023-11-01: list base 100.00, list use 8.00 = 108.00'])
    expect(await billed(shop, 'bob')).toEqual(['2023-11-01: list base 100.00, list use 10.00 = 110.00'])
    // What comes late costs what was agreed.
    shop.use('ann', 'context_tokens', '500', NOVEMBER + DAY_MS, DECEMBER + DAY_MS)
    shop.clock.nowMs = JANUARY + 2 * HOUR_MS
    await shop.run()
    expect(await billed(shop, 'ann')).toEqual([
      '2023-11-01: list base 100.00, list use 8.00 = 108.00',
      '2023-12-01: list base 100.00, list use 0.00, list use 4.00 = 104.00',
    ])
  })

  test('a charge that is left out and one that is added: terms say so, and hashes differ from the catalogue', async () => {
    const shop = await open()
    const added = { key: 'help', name: 'Help', price: { model: 'flat', amount: '5.00' } }
    const overrides = { charges: { base: null, use: { price: perUnit('0.0090') } }, add: [added] }
    await shop.ok('POST', '/subscriptions', subscription('ann', { overrides }))
    const list = await shop.ok('GET', '/plans/list')
    const terms = await shop.ok('GET', '/subscriptions/ann-s/terms')
    expect(terms).toMatchObject({
      term: null,
      phases: [
        {
          ...{ start: '2023-11-01T00:00:00.000Z', end: null, plan: 'list', plan_version: 1, negotiated: true },
          ...{ catalog_hash: list.hash, removed_charges: ['base'] },
          charges: [
            { key: 'use', meter: 'context_tokens', price: perUnit('0.009'), negotiated: true },
            { key: 'help', meter: null, price: { model: 'flat', amount: '5' }, negotiated: true },
          ],
        },
      ],
    })
    expect(JSON.stringify(terms)).not.toContain(`"plan_hash":${JSON.stringify(list.hash)}`)
    shop.use('ann', 'context_tokens', '1000', NOVEMBER)
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    expect(await billed(shop, 'ann')).toEqual(['2023-11-01: list use 9.00, list help 5.00 = 14.00'])
    // The catalogue does not know of it.
    expect((await shop.ok('GET', '/plans')).plans).toHaveLength(2)
    expect((await shop.ok('GET', '/plans/list/versions')).versions).toHaveLength(1)
    expect(await shop.ok('GET', '/plans/list')).toEqual(list)
  })

  test('sent again it is the same, spelled otherwise too, also after a new version, and makes no second version', async () => {
    const shop = await open()
    const body = subscription('ann', { start: '2023-12-01T00:00:00Z', overrides: cheaper })
    const created = await shop.ok('POST', '/subscriptions', body)
    const { key: _, ...dearer } = planOf('list', [fee('120.00'), tokens('0.02')])
    await shop.ok('POST', '/plans/list/versions', dearer)
    expect(await shop.call('POST', '/subscriptions', body)).toMatchObject({ status: 200, body: created })
    const spelled = { charges: { use: { price: perUnit('0.00800') } } }
    expect((await shop.call('POST', '/subscriptions', { ...body, overrides: spelled })).status).toBe(200)
    const other = { charges: { use: { price: perUnit('0.007') } } }
    expect((await shop.call('POST', '/subscriptions', { ...body, overrides: other })).status).toBe(409)
    expect((await shop.call('POST', '/subscriptions', { ...body, overrides: undefined })).status).toBe(409)
    expect(await privatePlans(shop)).toBe(1)
    // Prices that are not others make no version of their own.
    const same = { charges: { use: { price: perUnit('0.020') } } }
    expect(
      await shop.ok('POST', '/subscriptions', subscription('bob', { start: body.start, overrides: same })),
    ).toMatchObject({ plan_version: 2, phases: [{ negotiated: false }] })
    expect(await privatePlans(shop)).toBe(1)
  })

  test('a price spelled otherwise than in the catalogue is not shown as negotiated', async () => {
    const shop = await open()
    const overrides = { charges: { base: { price: { model: 'flat', amount: '100' } }, ...cheaper.charges } }
    await shop.ok('POST', '/subscriptions', subscription('ann', { overrides }))
    expect(await shop.ok('GET', '/subscriptions/ann-s/terms')).toMatchObject({
      phases: [
        {
          charges: [
            { key: 'base', negotiated: false },
            { key: 'use', negotiated: true },
          ],
        },
      ],
    })
  })

  test('a run keeps plans of the catalogue alone for its next chunks, however many customers negotiated', async () => {
    const shop = await open()
    await shop.ok('POST', '/subscriptions', subscription('ann', { overrides: cheaper }))
    const { rows } = await shop.transact(shop.tenantId, (tx) =>
      tx.query<{ id: string; base: string }>(
        'SELECT id, base_plan_id AS base FROM plans WHERE base_plan_id IS NOT NULL',
      ),
    )
    const { id, base } = rows[0]!
    const cache: PlanCache = new Map()
    const planOf = await loadPlans(shop.transact, shop.tenantId, cache, [id, base])
    expect([planOf(base), planOf(id)]).toMatchObject([
      { charges: [{}, { price: perUnit('0.01') }] },
      { charges: [{}, { price: perUnit('0.008') }] },
    ])
    expect([...cache.keys()]).toEqual([base])
  })

  test('two calls at once make one subscription and one version', async () => {
    const shop = await open()
    const body = subscription('ann', { overrides: cheaper })
    const answers = await Promise.all([1, 2, 3].map(() => shop.call('POST', '/subscriptions', body)))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 201])
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1)
    expect(await privatePlans(shop)).toBe(1)
  })

  test('a draft keeps what is negotiated until it is activated, and then it holds', async () => {
    const shop = await open()
    const phases = [{ for: { interval: 'month', count: 1 }, overrides: cheaper }, {}]
    const { start: _, ...body } = subscription('ann', { draft: true, phases })
    await shop.ok('POST', '/subscriptions', body)
    expect(await privatePlans(shop)).toBe(0)
    await shop.ok('POST', '/subscriptions/ann-s/activate', { start })
    for (const timeMs of [NOVEMBER, DECEMBER]) shop.use('ann', 'context_tokens', '1000', timeMs)
    shop.clock.nowMs = JANUARY + 2 * HOUR_MS
    await shop.run()
    expect(await billed(shop, 'ann')).toEqual([
      '2023-11-01: list base 100.00, list use 8.00 = 108.00',
      '2023-12-01: list base 100.00, list use 10.00 = 110.00',
    ])
  })

  test('whoever else has the same prices agreed has a version of their own, and no other tenant sees any', async () => {
    const shop = await open()
    for (const name of ['ann', 'bob'])
      await shop.ok('POST', '/subscriptions', subscription(name, { overrides: cheaper }))
    expect(await privatePlans(shop)).toBe(2)
    // The customer has it twice, one after the other.
    await shop.ok('PATCH', '/subscriptions/ann-s', { cancel: 'period_end' })
    const again = { external_key: 'ann-2', start: '2023-12-01T00:00:00Z', overrides: cheaper }
    await shop.ok('POST', '/subscriptions', subscription('ann', again))
    expect(await privatePlans(shop)).toBe(2)
    expect(await privatePlans(await open())).toBe(0)
  })

  test.each([
    ['a charge that is not there', { charges: { uses: null } }, 'overrides.charges.uses'],
    ['no charge left', { charges: { use: null, base: null } }, 'overrides'],
    [
      'a price that is none',
      { charges: { use: { price: perUnit('1e5') } } },
      'overrides.charges.use.price.unit_amount',
    ],
    ['a price without its meter', { charges: { base: { price: perUnit('1') } } }, 'overrides.charges.base.meter'],
    ['a charge with a key that is taken', { add: [fee('1.00')] }, 'overrides.add.0.key'],
    ['a meter that is not there', { add: [{ ...tokens('1'), key: 'x', meter: 'none' }] }, 'overrides.add.0.meter'],
  ])('refused, and nothing is stored: %s', async (_, overrides, path) => {
    const shop = await open()
    const { status, body } = await shop.call('POST', '/subscriptions', subscription('ann', { overrides }))
    expect([status, (body.errors as { path: string }[])[0]?.path]).toEqual([400, path])
    expect((await shop.call('GET', '/subscriptions/ann-s')).status).toBe(404)
    expect(await privatePlans(shop)).toBe(0)
  })
})

describe('a change to negotiated prices', () => {
  test('is previewed without a trace, made once however often it is sent, and billed from then on', async () => {
    const shop = await open()
    await shop.ok('POST', '/subscriptions', subscription('ann'))
    shop.clock.nowMs = NOVEMBER + 15 * DAY_MS
    const overrides = { charges: { base: { price: { model: 'flat', amount: '160.00' } }, ...cheaper.charges } }
    const change = { plan: 'list', overrides }
    shop.use('ann', 'context_tokens', '1000', NOVEMBER)
    shop.use('ann', 'context_tokens', '1000', NOVEMBER + 16 * DAY_MS, shop.clock.nowMs)
    const preview = await shop.ok('POST', '/subscriptions/ann-s/preview', change)
    expect(preview).toMatchObject({ change: { credit: '-50.00', charge: '80.00', net: '30.00' } })
    expect(await privatePlans(shop)).toBe(0)
    const before = await shop.ok('GET', '/subscriptions/ann-s')
    const after = await shop.ok('PATCH', '/subscriptions/ann-s', change)
    expect(await shop.ok('PATCH', '/subscriptions/ann-s', change)).toEqual(after)
    expect([before.phases, after.phases]).toMatchObject([[{}], [{ negotiated: false }, { negotiated: true }]])
    expect(await privatePlans(shop)).toBe(1)
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    expect(await billed(shop, 'ann')).toEqual([
      '2023-11-01: list base 50.00, list use 10.00, list base 80.00, list use 8.00 = 148.00',
    ])
  })

  test('overrides go with a plan: beside quantities or add-ons they are refused, and not dropped', async () => {
    const shop = await open()
    await shop.ok('POST', '/subscriptions', subscription('ann'))
    const refusal = async (change: object) => {
      const { status, body } = await shop.call('PATCH', '/subscriptions/ann-s', change)
      return [status, (body.errors as { path: string }[] | undefined)?.[0]?.path]
    }
    expect(await refusal({ add_ons: [], overrides: cheaper })).toEqual([400, 'overrides'])
    expect(await refusal({ quantities: { seats: 8 }, overrides: cheaper })).toEqual([400, 'overrides'])
    expect(await refusal({ add_ons: [], bill: true })).toEqual([400, 'bill'])
    expect(await refusal({ add_ons: [], fees: 'none' })).toEqual([400, 'fees'])
    expect((await shop.call('PATCH', '/subscriptions/ann-s', { add_ons: [], when: 'now' })).status).toBe(200)
  })

  test('with the period are of the version that is in effect then, whatever the one of today has', async () => {
    const shop = await open()
    await shop.ok('POST', '/plans', planOf('large', [fee('200.00')]))
    await shop.ok('POST', '/subscriptions', subscription('ann'))
    await shop.ok('POST', '/subscriptions', subscription('bob', { plan: 'large' }))
    const storage = (amount: string) => ({ key: 'storage', name: 'Storage', price: { model: 'flat', amount } })
    const { key: _, ...wider } = planOf('list', [fee('100.00'), storage('9.00')])
    await shop.ok('POST', '/plans/list/versions', { ...wider, effective_from: '2023-12-01T00:00:00Z' })
    shop.clock.nowMs = NOVEMBER + 15 * DAY_MS
    const overrides = { charges: { storage: { price: storage('5.00').price } } }
    const change = { plan: 'list', overrides, when: 'period_end' }
    const changed = await shop.ok('PATCH', '/subscriptions/ann-s', change)
    expect(changed).toMatchObject({ pending_plan: { plan_version: 2, at: '2023-12-01T00:00:00.000Z' } })
    expect(await shop.ok('PATCH', '/subscriptions/ann-s', change)).toEqual(changed)
    // Without a word on when it is the lower fee that says it.
    expect(await shop.ok('PATCH', '/subscriptions/bob-s', { plan: 'list', overrides })).toMatchObject({
      pending_plan: { plan_version: 2, at: '2023-12-01T00:00:00.000Z' },
    })
    const now = await shop.call('PATCH', '/subscriptions/ann-s', { ...change, when: 'now' })
    expect([now.status, now.body.errors]).toMatchObject([400, [{ path: 'overrides.charges.storage' }]])
    shop.clock.nowMs = JANUARY + 2 * HOUR_MS
    await shop.run()
    const december = '2023-12-01: list base 100.00, list storage 5.00 = 105.00'
    expect([(await billed(shop, 'ann'))[1], (await billed(shop, 'bob'))[1]]).toEqual([december, december])
  })

  test('to lower fees comes with the period, is not asked for twice, and back to the list by its name alone', async () => {
    const shop = await open()
    await shop.ok('POST', '/subscriptions', subscription('ann'))
    shop.clock.nowMs = NOVEMBER + 15 * DAY_MS
    const overrides = { charges: { base: { price: { model: 'flat', amount: '80.00' } } } }
    const pending = { plan: 'list', plan_version: 1, at: '2023-12-01T00:00:00.000Z' }
    const first = await shop.ok('PATCH', '/subscriptions/ann-s', { plan: 'list', overrides })
    expect(first).toMatchObject({ pending_plan: pending })
    expect(await shop.ok('PATCH', '/subscriptions/ann-s', { plan: 'list', overrides })).toEqual(first)
    shop.clock.nowMs = JANUARY + 2 * HOUR_MS
    await shop.run()
    const back = await shop.ok('PATCH', '/subscriptions/ann-s', { plan: 'list' })
    expect(back).toMatchObject({ pending_plan: null })
    shop.clock.nowMs = Date.UTC(2024, 1, 1) + 2 * HOUR_MS
    await shop.run()
    expect((await billed(shop, 'ann')).map((text) => text.split(' = ')[1])).toEqual(['100.00', '80.00', '99.95'])
  })
})
