import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { LineToPay } from '../../../../invoicer/billing/run/issue-chunk.ts'
import { payLines } from '../../../../invoicer/collection/credits/pay-lines.ts'
import type { CreditScope } from '../../../../invoicer/collection/credits/terms.ts'

const line = (
  chargeKey: string,
  meter: string | null,
  amountMinor: bigint,
  more: Partial<LineToPay> = {},
): LineToPay => {
  return { chargeKey, meter, amountMinor, breakdown: [], ...more }
}
const tax = (amountMinor: bigint, inclusive = false) => {
  const terms = { ratePercent: '24', code: 'GR-VAT', reason: 'standard_rate' as const, certificate: null }
  return { tax: { ...terms, amountMinor, inclusive } }
}
const anything = (remainingMinor: bigint) => ({ remainingMinor, scope: null })
const ofMeters = (remainingMinor: bigint, ...meters: string[]) => ({ remainingMinor, scope: { meters, charges: [] } })
const ofCharges = (remainingMinor: bigint, ...charges: string[]) => ({ remainingMinor, scope: { meters: [], charges } })

describe('credit with a scope pays its lines alone', () => {
  const lines = [line('base', null, 2000n), line('calls', 'calls', 500n), line('bytes', 'bytes', 300n)]
  const total = 2800n

  test('by meter and by charge, and each line once', () => {
    expect(payLines(total, lines, [ofMeters(9000n, 'calls')])).toEqual([500n])
    expect(payLines(total, lines, [ofCharges(9000n, 'base', 'bytes')])).toEqual([2300n])
    expect(payLines(total, lines, [ofMeters(400n, 'calls'), ofMeters(400n, 'calls', 'bytes')])).toEqual([400n, 400n])
    expect(payLines(total, lines, [ofMeters(400n, 'calls'), ofMeters(9000n, 'calls')])).toEqual([400n, 100n])
    expect(payLines(total, lines, [ofMeters(400n, 'other')])).toEqual([0n])
  })

  test('with the tax on top of them, and none that is inside', () => {
    const taxed = [line('base', null, 1000n, tax(240n)), line('calls', 'calls', 124n, tax(24n, true))]
    expect(payLines(1364n, taxed, [ofCharges(9000n, 'base')])).toEqual([1240n])
    expect(payLines(1364n, taxed, [ofMeters(9000n, 'calls')])).toEqual([124n])
  })

  test('one before it that may pay anything pays other lines, as far as there are such', () => {
    expect(payLines(total, lines, [anything(2300n), ofMeters(500n, 'calls')])).toEqual([2300n, 500n])
    expect(payLines(total, lines, [anything(2500n), ofMeters(500n, 'calls')])).toEqual([2500n, 300n])
  })

  test('a chain of moves makes room: each pays something else than before', () => {
    const three = [line('a', 'a', 100n), line('b', 'b', 100n), line('c', 'c', 100n)]
    const credits = [ofMeters(100n, 'a', 'b'), ofMeters(100n, 'b', 'c'), ofMeters(100n, 'a')]
    expect(payLines(300n, three, credits)).toEqual([100n, 100n, 100n])
  })

  test('what is below 0 lowers its charge, and beyond that the total, of which no more is paid', () => {
    const corrected = [...lines, line('calls', 'calls', -450n)]
    expect(payLines(2350n, corrected, [ofMeters(9000n, 'calls')])).toEqual([50n])
    const given = [...lines, line('goodwill', null, -2500n)]
    expect(payLines(300n, given, [ofMeters(9000n, 'calls')])).toEqual([300n])
    expect(payLines(-5n, given, [ofMeters(9000n, 'calls'), anything(7n)])).toEqual([0n, 0n])
  })

  test('a discount lowers the line it was taken off, and a one-time item with the key of a charge is none', () => {
    const entry = { type: 'one_time' as const, amount: '1.00' }
    const mixed = [
      line('calls', 'calls', 500n),
      line('calls', null, 700n, { breakdown: [entry] }),
      line('calls', null, -200n, { discount: { id: 'd', lowers: 1 } }),
      line('calls', 'calls', -100n, { discount: { id: 'd', lowers: 0 } }),
    ]
    expect(payLines(900n, mixed, [ofCharges(9000n, 'calls')])).toEqual([400n])
    expect(payLines(900n, mixed, [ofCharges(9000n, 'calls'), anything(9000n)])).toEqual([400n, 500n])
  })
})

/**
 * The most that the first grants can pay together: whatever lines one sets apart, they pay at most these and what grants
 * have that may pay others. The least of these bounds is reached (max flow = min cut).
 */
function mostMinor(totalMinor: bigint, sums: Map<string, bigint>, first: Credit[]): bigint {
  const names = [...sums.keys()]
  let least = totalMinor > 0n ? totalMinor : 0n
  for (let chosen = 0; chosen < 2 ** names.length; chosen += 1) {
    const apart = new Set(names.filter((_, place) => chosen & (1 << place)))
    let bound = [...apart].reduce((sum, name) => sum + (sums.get(name) ?? 0n), 0n)
    for (const { remainingMinor, scope } of first) {
      const may = scope === null ? names : scope.meters
      if (may.some((name) => sums.has(name) && !apart.has(name))) bound += remainingMinor
    }
    if (bound < least) least = bound
  }
  return least
}
type Credit = { remainingMinor: bigint; scope: CreditScope | null }

test('each grant pays what those up to it can pay at most, less what those before it can: as a second implementation says', () => {
  const meters = ['a', 'b', 'c', 'd']
  const scope = fc.option(
    fc.subarray(meters, { minLength: 1 }).map((names) => ({ meters: names, charges: [] })),
    { freq: 4 },
  )
  const credit = fc.record({ remainingMinor: fc.bigInt({ min: 0n, max: 60n }), scope })
  const amounts = fc.array(fc.tuple(fc.constantFrom(...meters), fc.bigInt({ min: -20n, max: 50n })), { maxLength: 8 })
  fc.assert(
    fc.property(amounts, fc.array(credit, { maxLength: 6 }), (owed, credits) => {
      const sums = new Map<string, bigint>()
      for (const [meter, amount] of owed) sums.set(meter, (sums.get(meter) ?? 0n) + amount)
      const total = [...sums.values()].reduce((sum, amount) => sum + amount, 0n)
      for (const [meter, amount] of sums) if (amount <= 0n) sums.delete(meter)
      const wanted = credits.map((_, place) => {
        return mostMinor(total, sums, credits.slice(0, place + 1)) - mostMinor(total, sums, credits.slice(0, place))
      })
      const lines = owed.map(([meter, amount]) => line(meter, meter, amount))
      expect(payLines(total, lines, credits)).toEqual(wanted)
    }),
    { numRuns: 3_000 },
  )
})
