import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkPrice } from '../../../../invoicer/billing/rating/check-price.ts'
import { rateGraduated } from '../../../../invoicer/billing/rating/graduated.ts'
import type { GraduatedPrice, Tier } from '../../../../invoicer/billing/rating/price.ts'
import { parseQuantity, quantityOfInteger } from '../../../../schemas/quantity.ts'

const graduated = (...tiers: [upTo: string | null, unitAmount: string, flatAmount?: string][]): GraduatedPrice => ({
  model: 'graduated',
  tiers: tiers.map(([up_to, unit_amount, flat_amount]) => ({
    up_to,
    unit_amount,
    ...(flat_amount === undefined ? {} : { flat_amount }),
  })),
})
const exactly = (price: GraduatedPrice, quantity: string) =>
  rateGraduated(price, parseQuantity(quantity)).exact.toFixed()

const R1 = graduated(['10', '10', '2'], ['20', '5', '3'], [null, '5', '3'])
const R2 = graduated(['5', '0', '100'], ['10', '0', '50'], ['15', '10'], [null, '5'])
const R4 = graduated(['5', '7'], ['10', '6.5'], [null, '6'])
const DEMO = graduated(['100000', '0.000015'], [null, '0.000012'])

describe('a graduated price (billing-rules, Tiers)', () => {
  test.each<readonly [id: string, price: GraduatedPrice, quantity: string, amount: string]>([
    ...Object.entries({ 0: '2', 1: '12', 10: '102', 11: '110', 12: '115', 21: '163' }).map(
      ([quantity, amount]) => ['R1', R1, quantity, amount] as const,
    ),
    ...[
      ['0', '100'],
      ['3', '100'],
      ['5', '100'],
      ['5.001', '150'],
      ['7', '150'],
      ['12', '170'],
      ['22', '235'],
    ].map(([quantity, amount]) => ['R2', R2, quantity!, amount!] as const),
    ...Object.entries({ 5: '35', 6: '41.5', 20: '127.5', 25: '157.5' }).map(
      ([quantity, amount]) => ['R4', R4, quantity, amount] as const,
    ),
    ['the demo', DEMO, '415760', '5.28912'],
  ])('%s', (_id, price, quantity, amount) => {
    expect(exactly(price, quantity)).toBe(amount)
  })

  test('a fraction above a bound falls in the next tier (100.5 of 0–100, 101–200)', () => {
    const price = graduated(['100', '2', '10'], ['200', '1', '7'], [null, '0.5', '50'])
    expect(exactly(price, '100')).toBe('210')
    expect(exactly(price, '100.5')).toBe('217.5')
  })

  test('a bound may itself be a fraction', () => {
    expect(exactly(graduated(['0.5', '4'], [null, '2']), '0.75')).toBe('2.5')
  })

  test('only the first tier is entered at quantity 0, and what is below 0 counts in it', () => {
    expect(rateGraduated(R1, parseQuantity('0')).breakdown).toHaveLength(1)
    expect(exactly(R1, '-1')).toBe('-8')
  })

  test('the breakdown lists each entered tier with its own quantity, prices and exact amount', () => {
    expect(rateGraduated(R1, parseQuantity('12.50')).breakdown).toEqual([
      { type: 'tier', tier: 1, up_to: '10', quantity: '10', unit_amount: '10', flat_amount: '2', amount: '102' },
      { type: 'tier', tier: 2, up_to: '20', quantity: '2.5', unit_amount: '5', flat_amount: '3', amount: '15.5' },
    ])
    expect(rateGraduated(DEMO, parseQuantity('415760')).breakdown[1]).toEqual({
      type: 'tier',
      tier: 2,
      up_to: null,
      quantity: '315760',
      unit_amount: '0.000012',
      flat_amount: '0',
      amount: '3.78912',
    })
  })
})

/** Whole and half units, so that the second implementation can count them one by one. */
const amountText = fc.bigInt(0n, 10n ** 14n).map((scaled) => quantityOfInteger(scaled).div('1000000000000').toFixed())
const halves = fc.integer({ min: 1, max: 120 })
const price = fc
  .uniqueArray(halves, { maxLength: 5 })
  .chain((bounds) => {
    const ascending = [...bounds].sort((a, b) => a - b).map((half) => String(half / 2))
    return fc.tuple(
      ...[...ascending, null].map((up_to) =>
        fc.record(
          { up_to: fc.constant(up_to), unit_amount: amountText, flat_amount: amountText },
          { requiredKeys: ['up_to', 'unit_amount'] },
        ),
      ),
    )
  })
  .map((tiers): GraduatedPrice => ({ model: 'graduated', tiers: tiers as Tier[] }))

/** Second implementation: prices one half unit after the other in scaled integers, each in the tier it falls in. */
function halfByHalf({ tiers }: GraduatedPrice, halfUnits: number): bigint {
  const scaled = (text: string) => BigInt(parseQuantity(text).times('1000000000000').toFixed())
  let doubled = 2n * scaled(tiers[0]!.flat_amount ?? '0')
  let current = tiers[0]!
  for (let half = 1; half <= halfUnits; half += 1) {
    const tier = tiers.find(({ up_to }) => up_to === null || half / 2 <= Number(up_to))!
    if (tier !== current) doubled += 2n * scaled(tier.flat_amount ?? '0')
    current = tier
    doubled += scaled(tier.unit_amount)
  }
  return doubled
}

describe('any graduated price', () => {
  test('equals the sum over units counted one by one', () => {
    fc.assert(
      fc.property(price, fc.nat(150), (anyPrice, halfUnits) => {
        expect(checkPrice(anyPrice)).toEqual([])
        const { exact } = rateGraduated(anyPrice, parseQuantity(String(halfUnits / 2)))
        expect(BigInt(exact.times('2000000000000').toFixed())).toBe(halfByHalf(anyPrice, halfUnits))
      }),
      { numRuns: 2000 },
    )
  })

  test('never costs less for more', () => {
    fc.assert(
      fc.property(price, fc.nat(150), fc.nat(150), (anyPrice, a, b) => {
        const [less, more] = [Math.min(a, b), Math.max(a, b)].map(
          (half) => rateGraduated(anyPrice, parseQuantity(String(half / 2))).exact,
        )
        expect(less!.lessThanOrEqualTo(more!)).toBe(true)
      }),
      { numRuns: 1000 },
    )
  })

  test('costs the same when a tier is split in two of the same unit amount', () => {
    fc.assert(
      fc.property(price, fc.nat(150), halves, (anyPrice, halfUnits, cut) => {
        const at = anyPrice.tiers.findIndex(({ up_to }) => up_to === null || cut / 2 <= Number(up_to))
        const tier = anyPrice.tiers[at]!
        fc.pre(tier.up_to !== String(cut / 2))
        const split = [
          { ...tier, up_to: String(cut / 2) },
          { up_to: tier.up_to, unit_amount: tier.unit_amount },
        ]
        const tiers = anyPrice.tiers.toSpliced(at, 1, ...split)
        const quantity = parseQuantity(String(halfUnits / 2))
        const whole = rateGraduated(anyPrice, quantity).exact
        expect(rateGraduated({ ...anyPrice, tiers }, quantity).exact.toFixed()).toBe(whole.toFixed())
      }),
      { numRuns: 1000 },
    )
  })

  test('has a breakdown whose quantities and exact amounts sum to the whole', () => {
    fc.assert(
      fc.property(price, fc.bigInt(0n, 10n ** 38n - 1n), (anyPrice, scaled) => {
        const quantity = quantityOfInteger(scaled).div('1000000000000')
        const { exact, breakdown } = rateGraduated(anyPrice, quantity)
        const sum = (texts: string[]) => texts.reduce((total, text) => total.plus(text), parseQuantity('0')).toFixed()
        expect(sum(breakdown.map((entry) => entry.amount))).toBe(exact.toFixed())
        expect(sum(breakdown.map((entry) => ('quantity' in entry ? entry.quantity : '0')))).toBe(quantity.toFixed())
      }),
    )
  })
})
