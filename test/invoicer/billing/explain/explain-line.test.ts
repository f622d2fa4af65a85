import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Plan } from '../../../../invoicer/agreements/plans/plan.ts'
import { explainLine, type LineToExplain } from '../../../../invoicer/billing/explain/explain-line.ts'
import type { ExplainNode } from '../../../../invoicer/billing/explain/node.ts'
import { draftShares, type Line } from '../../../../invoicer/billing/lines.ts'
import type { Parts } from '../../../../invoicer/billing/proration.ts'
import { tallyOf } from '../../../../invoicer/billing/rating/counting.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { currencyExponent, formatMoney } from '../../../../schemas/money.ts'
import { formatQuantity, parseQuantity, quantityFromJson } from '../../../../schemas/quantity.ts'
import { runs } from '../../../support/runs.ts'
import { PRICES } from '../quote/second/price-cases.ts'
import { fraction, sumOf, toPlaces, typed } from './calculator.ts'

const NOVEMBER = Date.UTC(2026, 10, 1)
const DECEMBER = Date.UTC(2026, 11, 1)
const MINUTE_MS = 60_000
const MINUTES = (DECEMBER - NOVEMBER) / MINUTE_MS
const SHOWN_PLACES = 40

/** As a plan holds it: every number as text. */
function inTexts(part: unknown): unknown {
  if (typeof part === 'number') return formatQuantity(quantityFromJson(part))
  if (Array.isArray(part)) return part.map(inTexts)
  if (typeof part !== 'object' || part === null) return part
  return Object.fromEntries(
    Object.entries(part).map(([name, value]) => [name, name === 'when' ? value : inTexts(value)]),
  )
}

const whole = { index: 0, wholeStartMs: NOVEMBER, wholeEndMs: DECEMBER }
/** All of November, a part of it, or two. */
const parts = fc
  .uniqueArray(fc.integer({ min: 0, max: MINUTES }), { minLength: 2, maxLength: 4 })
  .map((cuts) => cuts.sort((a, b) => a - b).map((cut) => NOVEMBER + cut * MINUTE_MS))
  .map(([first, second, third, fourth]): Parts => {
    const one = { ...whole, startMs: first!, endMs: second! }
    return fourth === undefined ? [one] : [one, { ...whole, startMs: third!, endMs: fourth }]
  })
const served = fc.oneof(fc.constant<Parts>([{ ...whole, startMs: NOVEMBER, endMs: DECEMBER }]), parts, parts)
const used = fc.bigInt(0n, 10n ** 7n).map((thousandths) => formatQuantity(parseQuantity(String(thousandths)).div(1000)))
const bases = fc.constantFrom('second' as const, 'day' as const)

function linesOf(price: Price, currency: string, charged: Parts, unit: 'second' | 'day', quantity: string): Line[] {
  const isFlat = price.model === 'flat'
  const plan = {
    ...{ id: 'plan', currency, prorationBasis: unit },
    charges: [{ key: 'c', name: 'Charge', meter: isFlat ? null : 'calls', price }],
  } as unknown as Plan<Price>
  const value = parseQuantity(quantity)
  const isCounted = price.model === 'matrix' || price.model === 'percentage'
  const counted = { tally: isCounted ? tallyOf(price, [{ value }]) : null, attributes: null }
  const usageOf = () => ({ quantity: value, events: 3, digest: 7n, counted })
  return draftShares([{ plan, parts: charged, usageOf, zone: 'America/New_York' }]).lines
}

function toExplain(line: Line, currency: string, charged: Parts, unit: 'second' | 'day'): LineToExplain {
  const { description, amountMinor, breakdown, usage, period } = line
  const counted = usage && { quantity: formatQuantity(usage.quantity), events: usage.events }
  return {
    ...{ description, amountMinor, currency, breakdown, ...period },
    usage: counted && { meter: 'calls', aggregation: 'sum', knownBeforeMs: DECEMBER, ...counted },
    proration: { parts: charged, basis: { unit, zone: 'America/New_York' } },
  }
}

const near = (a: bigint, b: bigint, by: bigint) => a - b <= by && b - a <= by

/** Whoever has a calculator comes to the same. */
function check(tree: ExplainNode, amount: string, currency: string): void {
  const { parts: steps } = tree
  expect([tree.output, steps.at(-1)?.output]).toEqual([amount, amount])
  for (const [place, { input }] of steps.entries()) {
    expect(input).toBe(place === 0 ? tree.input : steps[place - 1]?.output)
  }
  for (const node of [...steps, ...steps.flatMap((one) => one.parts)]) {
    const { rule, output, input } = node
    const result = typed(rule.replace(', rounded', ''))
    const isRounded = rule.endsWith(', rounded')
    const places = isRounded ? currencyExponent(currency) : SHOWN_PLACES
    const [typedIn, shown] = [result, fraction(output)].map((one) => one && toPlaces(one, places))
    // The last place of one with many is that of the one before it, rounded too.
    if (typedIn !== undefined && !near(typedIn, shown!, isRounded ? 0n : 2n))
      expect([rule, typedIn]).toEqual([rule, shown])
    if (rule === 'the sum of the parts') {
      expect(toPlaces(sumOf(node.parts.map((one) => one.output)), 60)).toBe(toPlaces(fraction(output), 60))
    }
    if (node.label === 'Rounding') {
      const exponent = currencyExponent(currency)
      expect(toPlaces(fraction(input), exponent)).toBe(toPlaces(fraction(output), exponent))
    }
  }
}

describe.each(Object.entries(PRICES))('a line of model %s, over any part of a period', (_model, prices) => {
  test('is explained by steps that follow each other, each to be followed with a calculator', () => {
    const currencies = fc.constantFrom('USD', 'JPY', 'KWD')
    fc.assert(
      fc.property(prices, currencies, served, bases, used, (given, currency, charged, unit, quantity) => {
        const price = inTexts(given) as Price
        for (const line of linesOf(price, currency, charged, unit, quantity)) {
          const asked = toExplain(line, currency, charged, unit)
          const tree = explainLine(asked)
          check(tree, formatMoney(line.amountMinor, currency), currency)
          expect(tree.parts.map(({ label }) => label)).not.toContain('Stored amount')
          // Where the calendar of then is not known any more, the steps still end in the amount.
          const blind = explainLine({ ...asked, proration: null })
          expect(blind.parts.at(-1)?.output).toBe(formatMoney(line.amountMinor, currency))
        }
      }),
      { numRuns: runs(60) },
    )
  })
})

describe('amounts that a part of a period ends between two cents', () => {
  const until = (endMs: number): Parts => [{ ...whole, startMs: NOVEMBER, endMs }]
  const HOUR_MS = 60 * MINUTE_MS
  test.each<[string, Price, string, Parts]>([
    [
      'of a tier, behind a discount',
      {
        ...{ model: 'volume', discount_percent: '49' },
        tiers: [
          { up_to: '10', unit_amount: '0', flat_amount: '19' },
          { up_to: null, unit_amount: '0' },
        ],
      },
      'USD',
      until(NOVEMBER + 581 * HOUR_MS),
    ],
    [
      'of a commitment, times the overage factor',
      { model: 'dynamic', multiplier: '10', discount_percent: '38', commitment_amount: '4.1', overage_factor: '1.3' },
      'KWD',
      until(NOVEMBER + 653 * HOUR_MS),
    ],
  ])('%s, are rounded in the steps as on the line', (_name, price, currency, charged) => {
    for (const quantity of ['0', '6264.575']) {
      for (const line of linesOf(price, currency, charged, 'day', quantity)) {
        const tree = explainLine(toExplain(line, currency, charged, 'day'))
        check(tree, formatMoney(line.amountMinor, currency), currency)
        expect(tree.parts.map(({ label }) => label)).not.toContain('Stored amount')
      }
    }
  })
})

describe('other lines', () => {
  const of = (breakdown: LineToExplain['breakdown'], amountMinor: bigint): LineToExplain => ({
    ...{ description: 'Line', amountMinor, currency: 'USD', breakdown, usage: null, proration: null },
    ...{ startMs: NOVEMBER, endMs: DECEMBER },
  })
  const shown = (line: LineToExplain) =>
    explainLine(line).parts.map(({ label, rule, output }) => `${label}: ${rule} = ${output}`)

  test('an amount that is none of what was stored with it is told as what it is', () => {
    const line = of([{ type: 'flat', amount: '20' }], 1999n)
    expect(shown(line)).toEqual([
      'Price: the sum of the parts = 20',
      'Rounding: to 2 places, halves away from zero = 20.00',
      'Stored amount: what is stored with the line; the steps above do not come to it = 19.99',
    ])
  })

  test('a one-time item is its amount, or so many units', () => {
    expect(shown(of([{ type: 'one_time', amount: '12.5' }], 1250n))).toEqual([
      'One-time amount: 1 × 12.5 = 12.5',
      'Rounding: to 2 places, halves away from zero = 12.50',
    ])
    expect(shown(of([{ type: 'one_time', amount: '1.67', quantity: '5', unit_amount: '0.333' }], 167n))).toEqual([
      'Units: 5 × 0.333 = 1.665',
      'Rounding: to 2 places, halves away from zero = 1.67',
    ])
  })

  test('one that draws a commitment of several periods has all of them, less what the others billed', () => {
    const drawn: LineToExplain['breakdown'][number] = {
      ...{ type: 'commitment', commitment_amount: '100.00', overage_factor: '1', amount: '30.00' },
      ...{ window_start: '2023-11-01T00:00:00.000Z', window_end: '2024-02-01T00:00:00.000Z' },
      ...{ drawn_before: '60.00', billed_before: '50.00', settled: true },
    }
    const used = { type: 'per_unit' as const, quantity: '2', unit_amount: '10', amount: '20' }
    expect(shown(of([used, drawn], 5000n)).slice(2)).toEqual([
      'Commitment of 100.00 since 2023-11-01T00:00:00.000Z: 20.00 + 60.00 of its other periods = 80',
      'Up to the commitment: settled before = 100.00',
      'Less what its other periods billed: 100.00 - 50.00 = 50.00',
      'Rounding: to 2 places, halves away from zero = 50.00',
    ])
    const { window_start } = drawn
    const missing = { type: 'true_up' as const, minimum_amount: '100.00', amount: '20.00', window_start }
    expect(shown(of([missing], 2000n)).at(-1)).toBe(
      'Less all that its periods came to since 2023-11-01T00:00:00.000Z: 100.00 - 80 = 20.00',
    )
  })

  const adjusted = (amount: string, billed: string, now: string): LineToExplain['breakdown'] => [
    {
      ...{ type: 'adjustment', billed, now, quantity: '30', events: 3, digest: '7' },
      ...{ seal_id: 'seal', amount },
    },
    { type: 'per_unit', quantity: '30', unit_amount: '0.1', amount: '3' },
    { type: 'true_up', minimum_amount: '4', amount: '1' },
  ]

  test('an adjustment is what the charge comes to by now, less what was billed', () => {
    expect(shown(of(adjusted('1.50', '2.50', '4.00'), 150n)).slice(1)).toEqual([
      'Rounding: to 2 places, halves away from zero = 3.00',
      'Up to the minimum: + 1 = 4.00',
      'Less what was billed: 4.00 - 2.50 = 1.50',
    ])
  })

  test('one that takes off no more than what waited leaves the rest to credit notes', () => {
    expect(shown(of(adjusted('-1.00', '7.00', '4.00'), -100n)).slice(-2)).toEqual([
      'Less what was billed: 4.00 - 7.00 = -3.00',
      'Less what credit notes give back: the rest = -1.00',
    ])
  })
})
