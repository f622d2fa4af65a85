import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Plan } from '../../../invoicer/agreements/plans/plan.ts'
import { checkDraft, draftInvoice } from '../../../invoicer/billing/lines.ts'
import { proratedMinor } from '../../../invoicer/billing/proration.ts'
import type { Price } from '../../../invoicer/billing/rating/price.ts'
import type { ProrationBasis } from '../../../invoicer/billing/unused.ts'
import type { MeteredUsage } from '../../../invoicer/billing/usage.ts'
import { parseQuantity, ZERO } from '../../../schemas/quantity.ts'
import type { Period } from '../../../schemas/time/period.ts'
import { DECEMBER, NOVEMBER, storedPlan } from '../support/world.ts'

const DAY_MS = 86_400_000
const BY_SECOND: ProrationBasis = { unit: 'second', zone: 'UTC' }
const november: Period = { index: 0, startMs: NOVEMBER, endMs: DECEMBER, wholeStartMs: NOVEMBER, wholeEndMs: DECEMBER }
const part = (startMs: number, endMs: number): Period => ({ ...november, startMs, endMs })
const plan: Plan<Price> = storedPlan()
const used = (quantity: string): MeteredUsage => ({ quantity: parseQuantity(quantity), events: 1, digest: 1n })
const usageOf = (usage: Record<string, string>) => (meter: string) => used(usage[meter] ?? '0')
const amounts = (draft: { lines: { amountMinor: bigint }[] }) => draft.lines.map((line) => line.amountMinor)
const perUnit = (unitAmount: string): Price => ({ model: 'per_unit', unit_amount: unitAmount })
const graduatedBy = (flatAmount: string, unitAmount = '0'): Price => ({
  model: 'graduated',
  tiers: [{ up_to: null, unit_amount: unitAmount, flat_amount: flatAmount }],
})
const graduated: Price = {
  model: 'graduated',
  tiers: [
    { up_to: '10', unit_amount: '1', flat_amount: '5' },
    { up_to: null, unit_amount: '0.5', flat_amount: '4' },
  ],
}

describe('the lines of an invoice', () => {
  test('of the demo are 20.00 + 6.55 + 5.29 = 31.84', () => {
    const draft = draftInvoice(
      plan,
      november,
      usageOf({ context_tokens: '2182292', generated_tokens: '415760' }),
      'UTC',
    )
    expect(amounts(draft)).toEqual([2000n, 655n, 529n])
    expect(draft).toMatchObject({ subtotalMinor: 3184n, taxMinor: 0n, totalMinor: 3184n, amountDueMinor: 3184n })
  })

  test('are rounded one by one, and the total is their sum: three of 10.333333 are 30.99 (billing-cases, R10)', () => {
    const charges = ['a', 'b', 'c'].map((key) => ({ key, name: key, meter: 'm', price: perUnit('10.333333') }))
    const draft = draftInvoice({ ...plan, charges }, november, usageOf({ m: '1' }), 'UTC')
    expect(amounts(draft)).toEqual([1033n, 1033n, 1033n])
    expect(draft.totalMinor).toBe(3099n)
  })

  test('prorate a flat fee by the second: 10 of 30 days of 20.00 are 6.67, and say so', () => {
    const draft = draftInvoice(plan, part(NOVEMBER + 20 * DAY_MS, DECEMBER), usageOf({}), 'UTC')
    expect(amounts(draft)).toEqual([667n, 0n, 0n])
    const [flat, proration] = draft.lines[0]!.breakdown
    expect(flat).toEqual({ type: 'flat', amount: '20' })
    expect(proration).toMatchObject({ type: 'proration', seconds: 864_000, of_seconds: 2_592_000 })
  })

  test('never prorate usage', () => {
    const cut = draftInvoice(
      plan,
      part(NOVEMBER + DAY_MS, DECEMBER - DAY_MS),
      usageOf({ context_tokens: '1000000' }),
      'UTC',
    )
    expect(amounts(cut)[1]).toBe(300n)
  })

  test('prorate the flat amounts of entered tiers in a cut period, and nothing else of the charge', () => {
    const tiered = { ...plan, charges: [{ key: 'g', name: 'G', meter: 'm', price: graduated }] }
    expect(amounts(draftInvoice(tiered, november, usageOf({ m: '12' }), 'UTC'))).toEqual([2000n])
    // 10 × 1 + 2 × 0.5 + (5 + 4) × 1/3
    expect(amounts(draftInvoice(tiered, part(NOVEMBER + 20 * DAY_MS, DECEMBER), usageOf({ m: '12' }), 'UTC'))).toEqual([
      1400n,
    ])
  })

  test('are refused where they do not add up, or are too large', () => {
    const draft = draftInvoice(plan, november, usageOf({}), 'UTC')
    expect(() => checkDraft({ ...draft, totalMinor: 2001n })).toThrow('differ')
    expect(() => checkDraft({ ...draft, subtotalMinor: 1n, totalMinor: 1n })).toThrow('differ')
    expect(() => draftInvoice(plan, november, usageOf({ context_tokens: '9'.repeat(26) }), 'UTC')).toThrow('too large')
  })

  test('are refused where a quantity has more digits than numeric(38, 12), whatever it costs', () => {
    const free = { ...plan, charges: [{ key: 'u', name: 'U', meter: 'm', price: perUnit('0') }] }
    const most = '9'.repeat(26)
    expect(amounts(draftInvoice(free, november, usageOf({ m: `${most}.${'9'.repeat(12)}` }), 'UTC'))).toEqual([0n])
    const tooMuch = { ...used(most), quantity: parseQuantity(most).plus(1) }
    expect(() => draftInvoice(free, november, () => tooMuch, 'UTC')).toThrow('"u" has more digits than can be stored')
    expect(() => draftInvoice(free, november, () => ({ ...tooMuch, quantity: tooMuch.quantity.neg() }), 'UTC')).toThrow(
      'digits',
    )
  })

  test('show what proration takes off with 12 places, and round the exact amount', () => {
    const cut = part(NOVEMBER + 20 * DAY_MS, DECEMBER)
    const flat = draftInvoice(plan, cut, usageOf({}), 'UTC').lines[0]!.breakdown[1]
    expect(flat).toMatchObject({ amount: '-13.333333333333' })
    const tiered = { ...plan, charges: [{ key: 'g', name: 'G', meter: 'm', price: graduatedBy('0.02') }] }
    const [line] = draftInvoice(tiered, cut, usageOf({ m: '1' }), 'UTC').lines
    expect(line!.breakdown[1]).toMatchObject({ amount: '-0.013333333333' })
    // 0.008333333333 + 0.02 × 1/3 is a little less than 0.015; with what is shown it would be 0.015, and round up.
    const price = graduatedBy('0.02', '0.008333333333')
    const close = { ...plan, charges: [{ key: 'g', name: 'G', meter: 'm', price }] }
    expect(amounts(draftInvoice(close, cut, usageOf({ m: '1' }), 'UTC'))).toEqual([1n])
  })

  describe('with a minimum or a maximum (billing-rules, Tiers: bounds on a charge)', () => {
    const third = part(NOVEMBER + 20 * DAY_MS, DECEMBER)
    const draftOf = (price: Price, period: Period, quantity: string) =>
      draftInvoice(
        { ...plan, charges: [{ key: 'c', name: 'Calls', meter: price.model === 'flat' ? null : 'm', price }] },
        period,
        usageOf({ m: quantity }),
        'UTC',
      )

    test('below the minimum a true-up follows as a line of its own, made from no usage', () => {
      const price: Price = { ...perUnit('1'), minimum_amount: '100' }
      const draft = draftOf(price, november, '40.005')
      expect(amounts(draft)).toEqual([4001n, 5999n])
      expect(draft.totalMinor).toBe(10_000n)
      expect(draft.lines[1]).toEqual({
        planId: 'plan',
        period: { startMs: NOVEMBER, endMs: DECEMBER },
        chargeKey: 'c',
        description: 'Calls (minimum)',
        meter: 'm',
        amountMinor: 5999n,
        breakdown: [{ type: 'true_up', minimum_amount: '100', amount: '59.99' }],
        usage: null,
      })
      expect(amounts(draftOf(price, november, '100'))).toEqual([10_000n])
    })

    test('the minimum has the share of a cut period, the maximum and included units have not', () => {
      const least = draftOf({ ...perUnit('1'), minimum_amount: '100' }, third, '20')
      expect(amounts(least)).toEqual([2000n, 1333n])
      expect(least.lines[1]!.breakdown).toEqual([
        { type: 'true_up', minimum_amount: '100', amount: '80' },
        { type: 'proration', seconds: 864_000, of_seconds: 2_592_000, amount: '-66.666666666667' },
      ])
      expect(amounts(draftOf({ ...perUnit('1'), maximum_amount: '100' }, third, '900'))).toEqual([10_000n])
      expect(amounts(draftOf({ ...perUnit('1'), included_units: '30' }, third, '40'))).toEqual([1000n])
    })

    test('a commitment has the share of a cut period: what goes beyond it costs more, what is missing is a true-up', () => {
      const price: Price = { ...perUnit('1'), commitment_amount: '90', overage_factor: '1.5' }
      // A third of 90 is 30.
      expect(amounts(draftOf(price, third, '20'))).toEqual([2000n, 1000n])
      const beyond = draftOf(price, third, '50')
      expect(amounts(beyond)).toEqual([6000n])
      expect(beyond.lines[0]!.breakdown.at(-1)).toEqual({
        type: 'overage',
        commitment_amount: '30',
        overage_factor: '1.5',
        amount: '10',
      })
      expect(amounts(draftOf(price, november, '100'))).toEqual([10_500n])
    })

    test('the parts of a period have parts of the minimum that sum to it, wherever it is cut', () => {
      const price: Price = { ...perUnit('1'), minimum_amount: '100.01' }
      const minute = fc.integer({ min: 1, max: 30 * 24 * 60 - 1 })
      fc.assert(
        fc.property(minute, minute, (a, b) => {
          fc.pre(a !== b)
          const cuts = [0, Math.min(a, b), Math.max(a, b), 30 * 24 * 60].map((at) => NOVEMBER + at * 60_000)
          const drafts = cuts.slice(1).map((endMs, index) => draftOf(price, part(cuts[index]!, endMs), '0'))
          expect(drafts.reduce((sum, draft) => sum + draft.totalMinor, 0n)).toBe(10_001n)
        }),
        { numRuns: 200 },
      )
    })

    test('a cut flat price: its share less the discount, at most the whole maximum, at least its share of the minimum', () => {
      const flat: Price = { model: 'flat', amount: '90', discount_percent: '10' }
      expect(amounts(draftOf(flat, november, '0'))).toEqual([8100n])
      const cut = draftOf(flat, third, '0')
      expect(amounts(cut)).toEqual([2700n])
      expect(cut.lines[0]!.breakdown.map((entry) => entry.amount)).toEqual(['90', '-60', '-3'])
      expect(amounts(draftOf({ ...flat, maximum_amount: '20' }, third, '0'))).toEqual([2000n])
      expect(amounts(draftOf({ ...flat, minimum_amount: '90' }, third, '0'))).toEqual([2700n, 300n])
    })

    test('discount and maximum of a cut usage charge come after the flat amounts of its tiers are prorated', () => {
      const cut = { ...graduated, discount_percent: '50' }
      // (10 × 1 + 2 × 0.5 + (5 + 4) × 1/3) / 2
      expect(amounts(draftOf(cut, third, '12'))).toEqual([700n])
      expect(amounts(draftOf({ ...cut, maximum_amount: '6.50' }, third, '12'))).toEqual([650n])
    })

    test('what discount and maximum take off thirds is shown with 12 places', () => {
      const [line] = draftOf({ ...graduatedBy('20'), discount_percent: '10', maximum_amount: '5' }, third, '0').lines
      expect(line!.amountMinor).toBe(500n)
      const shown = line!.breakdown.map((entry) => entry.amount)
      expect(shown).toEqual(['20', '-13.333333333333', '-0.666666666667', '-1'])
    })

    test('half a cent made of thirtieths goes up', () => {
      // 1.00 × 1/30 × 15 %; 1/30 ends after 100 digits, a hair below.
      const price: Price = { ...graduatedBy('1'), discount_percent: '85' }
      expect(amounts(draftOf(price, part(NOVEMBER, NOVEMBER + DAY_MS), '0'))).toEqual([1n])
    })
  })

  test.each<[string, Price, bigint]>([
    [
      'volume',
      {
        model: 'volume',
        tiers: [
          { up_to: '5', unit_amount: '9' },
          { up_to: null, unit_amount: '2' },
        ],
      },
      2400n,
    ],
    ['package', { model: 'package', amount: '5', package_size: '10' }, 1000n],
    ['percentage', { model: 'percentage', rate: '50', free_units: '2' }, 500n],
    ['graduated percentage', { model: 'graduated_percentage', tiers: [{ up_to: null, rate: '25' }] }, 300n],
    ['dynamic', { model: 'dynamic', multiplier: '1.5' }, 1800n],
  ])('of a %s price are rated from what the meter counted', (_model, price, amountMinor) => {
    const charged = { ...plan, charges: [{ key: 'c', name: 'C', meter: 'm', price }] }
    expect(amounts(draftInvoice(charged, november, usageOf({ m: '12' }), 'UTC'))).toEqual([amountMinor])
  })

  test('sum to the total for any usage and any cut', () => {
    const tokens = fc.bigInt(0n, 10n ** 15n).map(String)
    const minute = fc.integer({ min: 0, max: 30 * 24 * 60 })
    fc.assert(
      fc.property(tokens, tokens, minute, minute, (context, generated, a, b) => {
        fc.pre(a < b)
        const period = part(NOVEMBER + a * 60_000, NOVEMBER + b * 60_000)
        const draft = draftInvoice(
          plan,
          period,
          usageOf({ context_tokens: context, generated_tokens: generated }),
          'UTC',
        )
        expect(amounts(draft).reduce((sum, amount) => sum + amount, 0n)).toBe(draft.totalMinor)
        expect(amounts(draft).every((amount) => amount >= 0n)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })
})

describe('proration', () => {
  test('of the parts of a period always sums to the whole, wherever it is cut', () => {
    const amount = fc.bigInt(0n, 10n ** 12n).map((scaled) => parseQuantity(scaled.toString()).div(1_000_000))
    const cuts = fc.array(fc.integer({ min: 1, max: 30 * 24 * 60 - 1 }), { maxLength: 10 })
    fc.assert(
      fc.property(amount, cuts, fc.constantFrom('USD', 'JPY', 'KWD'), (whole, minutes, currency) => {
        const inner = [...new Set(minutes)].sort((a, b) => a - b).map((minute) => NOVEMBER + minute * 60_000)
        const bounds = [NOVEMBER, ...inner, DECEMBER]
        const parts = bounds
          .slice(1)
          .map((endMs, index) => proratedMinor(whole, [part(bounds[index]!, endMs)], BY_SECOND, currency))
        expect(parts.reduce((sum, amountMinor) => sum + amountMinor, 0n)).toBe(
          proratedMinor(whole, [november], BY_SECOND, currency),
        )
      }),
      { numRuns: 500 },
    )
  })

  test('of the whole period is the amount, rounded once', () => {
    expect(proratedMinor(parseQuantity('20.005'), [november], BY_SECOND, 'USD')).toBe(2001n)
    expect(proratedMinor(ZERO, [november], BY_SECOND, 'USD')).toBe(0n)
  })
})
