import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { anomaliesOf } from '../../../../invoicer/billing/review/anomalies.ts'
import type { RunDraft } from '../../../../invoicer/billing/review/draft.ts'
import { type AnomalyRules, DEFAULT_SETTINGS } from '../../../../invoicer/billing/review/rules.ts'

const { rules } = DEFAULT_SETTINGS
const draft = (previousMinor: bigint | null, amountMinor: bigint, change: Partial<RunDraft> = {}): RunDraft => ({
  kind: 'invoice',
  subscriptionId: 's',
  customerId: 'c',
  currency: 'USD',
  periodStartMs: 0,
  periodEndMs: 1,
  offCycle: false,
  lineCount: 1,
  amountMinor,
  previousMinor,
  reason: null,
  ...change,
})

describe('by the default rules', () => {
  test.each<[string, RunDraft, string[]]>([
    ['twice as much, and 100.00 more', draft(10_000n, 20_000n), ['spike']],
    ['a cent less than twice as much', draft(10_000n, 19_999n), []],
    ['twice as much, and 99.99 more', draft(9_999n, 19_998n), []],
    ['from 0 to 100.00', draft(0n, 10_000n), ['spike']],
    ['from 0 to 99.99', draft(0n, 9_999n), []],
    ['from −100.00 to 0', draft(-10_000n, 0n), ['spike']],
    ['half, and 100.00 less', draft(20_000n, 10_000n), ['drop']],
    ['a cent more than half', draft(20_000n, 10_001n), []],
    ['a little to 0', draft(1n, 0n), ['zero']],
    ['100.00 to 0', draft(10_000n, 0n), ['drop', 'zero']],
    ['0 to 0', draft(0n, 0n), []],
    ['to below 0', draft(10_000n, -1n), ['drop']],
    ['a first invoice of 10,000.00', draft(null, 1_000_000n), []],
    ['a first invoice of a cent more', draft(null, 1_000_001n), ['first_invoice_above']],
    ['a first invoice of 0', draft(null, 0n), []],
    ['in yen, of which 100 are 100', draft(100n, 200n, { currency: 'JPY' }), ['spike']],
    ['parked', draft(1n, 0n, { kind: 'parked', reason: 'r' }), ['parked']],
    ['missing', draft(1n, 0n, { kind: 'missing' }), ['missing']],
    ['missing, and nothing was billed before', draft(0n, 0n, { kind: 'missing' }), []],
    [
      'first fees in advance, though they stand beside the periods',
      draft(null, 1_000_001n, { offCycle: true, isFirstFees: true }),
      ['first_invoice_above'],
    ],
    ['beside the periods', draft(null, 9_000_000n, { offCycle: true }), []],
  ])('%s', (_, one, expected) => {
    expect(anomaliesOf(one, rules)).toEqual(expected)
  })
})

const NEVER: AnomalyRules = {
  spike: null,
  drop: null,
  zero: false,
  missing: false,
  parked: false,
  first_invoice_above: null,
}
const minor = fc.bigInt(-(2n ** 40n), 2n ** 40n)
const anyDraft = fc
  .record({
    kind: fc.constantFrom('invoice' as const, 'parked' as const, 'missing' as const),
    previous: fc.option(minor),
    amount: minor,
  })
  .map(({ kind, previous, amount }) => draft(previous, amount, { kind }))

test('without rules nothing is an anomaly', () => {
  fc.assert(fc.property(anyDraft, (one) => anomaliesOf(one, NEVER).length === 0))
})

test('nothing is a spike and a drop, and a change is one of both by bounds of 0 and 0', () => {
  const all: AnomalyRules = { ...NEVER, spike: { percent: '0', amount: '0' }, drop: { percent: '0', amount: '0' } }
  fc.assert(
    fc.property(minor, minor, (previous, amount) => {
      const expected = amount > previous ? ['spike'] : amount < previous ? ['drop'] : []
      expect(anomaliesOf(draft(previous, amount), all)).toEqual(expected)
    }),
  )
})

test('what is a spike stays one as it grows, and by looser bounds', () => {
  const percent = fc.integer({ min: 0, max: 999_999 })
  fc.assert(
    fc.property(minor, minor, fc.bigInt(0n, 2n ** 40n), percent, percent, (previous, amount, more, one, other) => {
      const by = (bound: number): AnomalyRules => ({ ...NEVER, spike: { percent: String(bound), amount: '1' } })
      const [loose, tight] = [Math.min(one, other), Math.max(one, other)]
      if (anomaliesOf(draft(previous, amount), by(tight)).length === 0) return
      expect(anomaliesOf(draft(previous, amount + more), by(tight))).toEqual(['spike'])
      expect(anomaliesOf(draft(previous, amount), by(loose))).toEqual(['spike'])
    }),
  )
})
