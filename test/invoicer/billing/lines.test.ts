import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Plan } from '../../../invoicer/agreements/plans/plan.ts'
import { checkDraft, draftInvoice } from '../../../invoicer/billing/lines.ts'
import { proratedMinor } from '../../../invoicer/billing/proration.ts'
import type { Price } from '../../../invoicer/billing/rating/price.ts'
import type { MeteredUsage } from '../../../invoicer/billing/usage.ts'
import { parseQuantity, ZERO } from '../../../schemas/quantity.ts'
import type { Period } from '../../../schemas/time/period.ts'
import { DECEMBER, DEMO_PLAN, NOVEMBER } from '../support/world.ts'

const DAY_MS = 86_400_000
const november: Period = { index: 0, startMs: NOVEMBER, endMs: DECEMBER, wholeStartMs: NOVEMBER, wholeEndMs: DECEMBER }
const part = (startMs: number, endMs: number): Period => ({ ...november, startMs, endMs })
const plan: Plan<Price> = { ...DEMO_PLAN, id: 'plan', createdAtMs: 0 }
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
    const draft = draftInvoice(plan, november, usageOf({ context_tokens: '2182292', generated_tokens: '415760' }))
    expect(amounts(draft)).toEqual([2000n, 655n, 529n])
    expect(draft).toMatchObject({ subtotalMinor: 3184n, taxMinor: 0n, totalMinor: 3184n, amountDueMinor: 3184n })
  })

  test('prorate a flat fee by the second: 10 of 30 days of 20.00 are 6.67, and say so', () => {
    const draft = draftInvoice(plan, part(NOVEMBER + 20 * DAY_MS, DECEMBER), usageOf({}))
    expect(amounts(draft)).toEqual([667n, 0n, 0n])
    const [flat, proration] = draft.lines[0]!.breakdown
    expect(flat).toEqual({ type: 'flat', amount: '20' })
    expect(proration).toMatchObject({ type: 'proration', seconds: 864_000, of_seconds: 2_592_000 })
  })

  test('never prorate usage', () => {
    const cut = draftInvoice(plan, part(NOVEMBER + DAY_MS, DECEMBER - DAY_MS), usageOf({ context_tokens: '1000000' }))
    expect(amounts(cut)[1]).toBe(300n)
  })

  test('prorate the flat amounts of entered tiers in a cut period, and nothing else of the charge', () => {
    const tiered = { ...plan, charges: [{ key: 'g', name: 'G', meter: 'm', price: graduated }] }
    expect(amounts(draftInvoice(tiered, november, usageOf({ m: '12' })))).toEqual([2000n])
    // 10 × 1 + 2 × 0.5 + (5 + 4) × 1/3
    expect(amounts(draftInvoice(tiered, part(NOVEMBER + 20 * DAY_MS, DECEMBER), usageOf({ m: '12' })))).toEqual([1400n])
  })

  test('are refused where they do not add up, where the total is negative, or is too large', () => {
    const draft = draftInvoice(plan, november, usageOf({}))
    expect(() => checkDraft({ ...draft, totalMinor: 2001n })).toThrow('differ')
    expect(() => checkDraft({ ...draft, subtotalMinor: 1n, totalMinor: 1n })).toThrow('differ')
    expect(() => draftInvoice(plan, november, usageOf({ context_tokens: '-100000000' }))).toThrow('negative')
    expect(() => draftInvoice(plan, november, usageOf({ context_tokens: '9'.repeat(26) }))).toThrow('too large')
  })

  test('are refused where a quantity has more digits than numeric(38, 12), whatever it costs', () => {
    const free = { ...plan, charges: [{ key: 'u', name: 'U', meter: 'm', price: perUnit('0') }] }
    const most = '9'.repeat(26)
    expect(amounts(draftInvoice(free, november, usageOf({ m: `${most}.${'9'.repeat(12)}` })))).toEqual([0n])
    const tooMuch = { ...used(most), quantity: parseQuantity(most).plus(1) }
    expect(() => draftInvoice(free, november, () => tooMuch)).toThrow('"u" has more digits than can be stored')
    expect(() => draftInvoice(free, november, () => ({ ...tooMuch, quantity: tooMuch.quantity.neg() }))).toThrow(
      'digits',
    )
  })

  test('show what proration takes off with 12 places, and round the exact amount', () => {
    const cut = part(NOVEMBER + 20 * DAY_MS, DECEMBER)
    const flat = draftInvoice(plan, cut, usageOf({})).lines[0]!.breakdown[1]
    expect(flat).toMatchObject({ amount: '-13.333333333333' })
    const tiered = { ...plan, charges: [{ key: 'g', name: 'G', meter: 'm', price: graduatedBy('0.02') }] }
    const [line] = draftInvoice(tiered, cut, usageOf({ m: '1' })).lines
    expect(line!.breakdown[1]).toMatchObject({ amount: '-0.013333333333' })
    // 0.008333333333 + 0.02 × 1/3 is a little less than 0.015; with what is shown it would be 0.015, and round up.
    const price = graduatedBy('0.02', '0.008333333333')
    const close = { ...plan, charges: [{ key: 'g', name: 'G', meter: 'm', price }] }
    expect(amounts(draftInvoice(close, cut, usageOf({ m: '1' })))).toEqual([1n])
  })

  test('sum to the total for any usage and any cut', () => {
    const tokens = fc.bigInt(0n, 10n ** 15n).map(String)
    const minute = fc.integer({ min: 0, max: 30 * 24 * 60 })
    fc.assert(
      fc.property(tokens, tokens, minute, minute, (context, generated, a, b) => {
        fc.pre(a < b)
        const period = part(NOVEMBER + a * 60_000, NOVEMBER + b * 60_000)
        const draft = draftInvoice(plan, period, usageOf({ context_tokens: context, generated_tokens: generated }))
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
        const parts = bounds.slice(1).map((endMs, index) => proratedMinor(whole, part(bounds[index]!, endMs), currency))
        expect(parts.reduce((sum, amountMinor) => sum + amountMinor, 0n)).toBe(proratedMinor(whole, november, currency))
      }),
      { numRuns: 500 },
    )
  })

  test('of the whole period is the amount, rounded once', () => {
    expect(proratedMinor(parseQuantity('20.005'), november, 'USD')).toBe(2001n)
    expect(proratedMinor(ZERO, november, 'USD')).toBe(0n)
  })
})
