import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type CreditStanding,
  type CreditThresholds,
  creditLevelsReached,
  DEFAULT_CREDIT_THRESHOLDS,
  levelTexts,
  usedMinor,
} from '../../../../invoicer/collection/credits/thresholds.ts'

const standing = (availableMinor: bigint, baseMinor = 3_900n): CreditStanding => {
  return { baseMinor, availableMinor, currency: 'USD' }
}
const reached = (availableMinor: bigint, change: Partial<CreditThresholds> = {}, baseMinor = 3_900n) =>
  creditLevelsReached(standing(availableMinor, baseMinor), { ...DEFAULT_CREDIT_THRESHOLDS, ...change })

/** Issue 6: thresholds of 50, 80 and 100 % and absolute, on prepaid credit. */
describe('levels of credit of 39.00', () => {
  test('by share are reached from what is used on, the lowest first', () => {
    expect(reached(3_900n)).toEqual([])
    expect(reached(1_951n)).toEqual([])
    expect(reached(1_950n)).toEqual(['50%'])
    expect(reached(780n, { used: ['100%', '80%', '50%'] })).toEqual(['50%', '80%'])
    expect(reached(1n)).toEqual(['50%', '80%'])
    expect(reached(0n)).toEqual(['50%', '80%', '100%'])
    expect(reached(-1n)).toEqual(['50%', '80%', '100%'])
  })

  test('by amount are reached when so much is left or less, the highest first', () => {
    const remaining = ['0.00', '10.00', '50.00']
    expect(reached(3_900n, { used: [], remaining })).toEqual(['50.00 left'])
    expect(reached(1_001n, { used: [], remaining })).toEqual(['50.00 left'])
    expect(reached(1_000n, { used: [], remaining })).toEqual(['50.00 left', '10.00 left'])
    expect(reached(0n, { remaining })).toEqual(['50%', '80%', '100%', '50.00 left', '10.00 left', '0.00 left'])
  })

  test('that are shares are rounded up: half of 0.03 is not used at 0.01', () => {
    expect([reached(2n, {}, 3n), reached(1n, {}, 3n)]).toEqual([[], ['50%']])
  })

  test('are the ones that can be told, and all of them are reached when nothing is left', () => {
    const share = fc.integer({ min: 1, max: 100 }).map((percent) => `${percent}%`)
    const amount = fc.bigInt(0n, 10n ** 12n)
    const thresholds = fc.record({
      used: fc.uniqueArray(share, { maxLength: 20 }),
      remaining: fc.uniqueArray(
        amount.map((major) => `${major}.07`),
        { maxLength: 20 },
      ),
    })
    fc.assert(
      fc.property(thresholds, amount, amount, amount, (of, base, spent, more) => {
        const at = (availableMinor: bigint) => creditLevelsReached(standing(availableMinor, base + 1n), of)
        const later = at(base + 1n - spent - more)
        for (const text of at(base + 1n - spent)) expect(later).toContain(text)
        expect(at(0n).toSorted()).toEqual(levelTexts(of).toSorted())
      }),
    )
  })
})

test('more may be used than there was, and never less than nothing', () => {
  expect([usedMinor(standing(-200n)), usedMinor(standing(3_900n)), usedMinor(standing(4_000n))]).toEqual([
    ...[4_100n, 0n, 0n],
  ])
})
