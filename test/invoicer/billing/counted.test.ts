import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { detailOf, usedBy } from '../../../invoicer/billing/counted.ts'
import type { MatrixPrice, Price } from '../../../invoicer/billing/rating/price.ts'
import { readRun } from '../../../invoicer/billing/run/read-run.ts'
import { ratable, usageRequests } from '../../../invoicer/billing/shares.ts'
import type { UsageReader } from '../../../invoicer/billing/usage.ts'
import { parseQuantity, ZERO } from '../../../schemas/quantity.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { createWorld, DECEMBER, DEMO_PLAN, MONTHLY, NOVEMBER, storedPlan, summary } from '../support/world.ts'

const matrix: MatrixPrice = {
  ...{ model: 'matrix', dimensions: ['region'], default_unit_amount: '1' },
  cells: [{ when: { region: 'eu' }, unit_amount: '2' }],
}
const fixed: Price = { model: 'percentage', rate: '10', fixed_amount: '0.25' }
const charge = (key: string, price: Price, attributes: string[] = []) => {
  return { key, name: key, meter: 'context_tokens', price, ...(attributes.length > 0 ? { attributes } : {}) }
}

describe('what is asked of the usage store', () => {
  const period = { index: 0, startMs: NOVEMBER, endMs: DECEMBER, wholeStartMs: NOVEMBER, wholeEndMs: DECEMBER }
  const asked = (charges = DEMO_PLAN.charges) => {
    const plan = storedPlan({ charges })
    return usageRequests(
      'k',
      ['s'],
      ratable({ planId: 'plan', phases: null, terms: MONTHLY }, period, () => plan),
    )
  }

  test('is the total of each meter once, as long as no charge needs more, and nothing else', () => {
    const shown = asked([...DEMO_PLAN.charges, charge('share', fixed)]).map(({ key, detail }) => [key, detail])
    const totals = ['context_tokens', 'generated_tokens'].map((meter) => [`k/${meter}/${NOVEMBER}`, undefined])
    expect(shown).toEqual(totals)
  })

  test('is more for each charge that needs it, beside the total for those that do not', () => {
    const shown = asked([charge('a', fixed), charge('b', matrix), charge('c', fixed, ['payer'])])
    expect(shown.map(({ key, detail }) => [key, detail])).toEqual([
      [`k/context_tokens/${NOVEMBER}`, undefined],
      [`k/context_tokens/${NOVEMBER}/b`, { price: matrix, attributes: [] }],
      [`k/context_tokens/${NOVEMBER}/c`, { price: null, attributes: ['payer'] }],
    ])
    expect(asked([charge('b', matrix)])).toHaveLength(1)
    expect(detailOf(charge('a', fixed))).toBeUndefined()
  })
})

test('a price that needs events is never rated without them, unless there are none', () => {
  const none = { quantity: ZERO, events: 0, digest: 0n }
  expect(usedBy(matrix, none)).toEqual({ kind: 'cells', cells: [] })
  expect(() => usedBy(matrix, { ...none, events: 1 })).toThrow('needs them one by one were not counted')
  expect(usedBy(fixed, { ...none, quantity: parseQuantity('7'), events: 3 })).toMatchObject({ paid: { events: 3 } })
})

test('where events could not be counted, a price that needs them is refused; attributes alone are no reason to', () => {
  const usage = { quantity: parseQuantity('7'), events: 3, digest: 0n, counted: { refused: 'too many' } }
  expect(() => usedBy(matrix, usage)).toThrow('too many')
  expect(() => usedBy(matrix, { ...usage, events: 0 })).toThrow('too many')
  expect(usedBy(fixed, usage)).toMatchObject({ paid: { events: 3 } })
  expect(usedBy({ model: 'per_unit', unit_amount: '1' }, usage)).toBeUndefined()
})

describe('a run', () => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await createTestDatabase()
  })
  afterAll(() => database.drop())

  test('parks whose events could not be counted, with the reason, and bills the others', async () => {
    const world = await createWorld(database, 'counted')
    await world.plan({ charges: [charge('cells', matrix), charge('share', fixed)] })
    for (const name of ['fine', 'busy']) {
      await world.subscribe(name)
      world.use(name, 'context_tokens', '10', NOVEMBER)
      world.use(name, 'context_tokens', '30', NOVEMBER + 1)
    }
    const { usage } = world.deps
    const cells = [{ cell: 1, quantity: '40' }]
    world.deps.usage = {
      ...usage,
      quantities: async (...asked: Parameters<UsageReader['quantities']>) => {
        const answers = await usage.quantities(...asked)
        for (const { key, subjects, detail } of asked[2]) {
          const isBusy = subjects.includes('busy')
          const counted = isBusy
            ? { refused: 'too many' }
            : { tally: { kind: 'cells' as const, cells }, attributes: null }
          if (detail) answers.set(key, { ...answers.get(key)!, counted })
        }
        return answers
      },
    }
    const id = await world.run()
    expect(summary(await world.invoices())).toEqual(['fine 2023-11-01: 80.00 + 4.50 = 84.50 paid'])
    const report = await world.transact(world.tenantId, (tx) => readRun(tx, id))
    expect(report.parked.map(({ reason }) => reason)).toEqual(['too many'])
  })

  test('bills a charge whose attributes alone could not be counted, and lists none', async () => {
    const world = await createWorld(database, 'attributes')
    await world.plan({ charges: [charge('share', fixed, ['payer'])] })
    await world.subscribe('fine')
    world.use('fine', 'context_tokens', '40', NOVEMBER)
    const { usage } = world.deps
    world.deps.usage = {
      ...usage,
      quantities: async (...asked: Parameters<UsageReader['quantities']>) => {
        const answers = await usage.quantities(...asked)
        for (const [key, found] of answers) answers.set(key, { ...found, counted: { refused: 'too many' } })
        return answers
      },
    }
    await world.run()
    const invoices = await world.invoices()
    expect(summary(invoices)).toEqual(['fine 2023-11-01: 4.25 = 4.25 paid'])
    expect(invoices[0]?.lines.map(({ usage }) => usage?.counted)).toEqual([null])
  })
})
