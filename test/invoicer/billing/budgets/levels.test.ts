import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Budget, levelsReached, thresholdText } from '../../../../invoicer/billing/budgets/levels.ts'

const budget = (change: Partial<Budget> = {}): Budget => ({
  amountMinor: 50_000n,
  currency: 'USD',
  thresholds: ['50%', '80%', '100%', '250.00'],
  ...change,
})
const texts = (spentMinor: bigint, of: Budget = budget()) => levelsReached(spentMinor, of).map(({ text }) => text)

/** Issue 6: thresholds of 50, 80 and 100 % and absolute, on spend. */
describe('levels of a budget of 500.00', () => {
  test('are reached from their amount on, the lowest first', () => {
    expect(texts(24_999n)).toEqual([])
    expect(texts(25_000n)).toEqual(['50%', '250.00'])
    expect(texts(39_999n)).toEqual(['50%', '250.00'])
    expect(texts(40_000n)).toEqual(['50%', '250.00', '80%'])
    expect(texts(50_000n)).toEqual(['50%', '250.00', '80%', '100%'])
    expect(texts(1_000_000n)).toEqual(['50%', '250.00', '80%', '100%'])
  })

  test('that are shares are rounded up: half of 0.03 is not reached at 0.01', () => {
    const small = budget({ amountMinor: 3n, thresholds: ['50%'] })
    expect([texts(1n, small), texts(2n, small)]).toEqual([[], ['50%']])
  })

  test('may lie beyond it', () => {
    const beyond = budget({ thresholds: ['120%', '700.00'] })
    expect([texts(59_999n, beyond), texts(60_000n, beyond), texts(70_000n, beyond)]).toEqual([
      [],
      ['120%'],
      ['120%', '700.00'],
    ])
  })

  test('are not reached where nothing is spent, also of a budget of 0', () => {
    const none = budget({ amountMinor: 0n, thresholds: ['0%', '100%'] })
    expect([texts(0n, none), texts(1n, none)]).toEqual([[], ['0%', '100%']])
  })

  test('once reached stay reached as spend grows', () => {
    const amount = fc.bigInt(0n, 10n ** 15n)
    const threshold = fc.oneof(
      fc.integer({ min: 0, max: 9999 }).map((percent) => `${percent}%`),
      fc.bigInt(0n, 10n ** 12n).map((major) => `${major}.07`),
    )
    const anyBudget = fc.record({
      amountMinor: amount,
      currency: fc.constant('USD'),
      thresholds: fc.array(threshold, { minLength: 1, maxLength: 20 }),
    })
    fc.assert(
      fc.property(anyBudget, amount, amount, (of, spent, more) => {
        const later = texts(spent + more, of)
        for (const text of texts(spent, of)) expect(later).toContain(text)
        const exact = (text: string) => Number(text.slice(0, -1)) * Number(of.amountMinor) <= 100 * Number(spent)
        const shares = of.thresholds.filter((text) => text.endsWith('%') && spent > 0n && of.amountMinor < 2n ** 40n)
        for (const text of shares) expect(texts(spent, of).includes(text)).toBe(exact(text))
      }),
    )
  })
})

test('a threshold is stored in one form, so that it is told once however it is written', () => {
  expect([thresholdText('080%', 'USD'), thresholdText('250', 'USD'), thresholdText('250.0', 'USD')]).toEqual([
    '80%',
    '250.00',
    '250.00',
  ])
  expect([thresholdText('250', 'JPY'), thresholdText('0.5', 'KWD')]).toEqual(['250', '0.500'])
  expect(() => thresholdText('0.005', 'USD')).toThrow('not an amount in USD')
  expect(() => thresholdText('0.5', 'JPY')).toThrow('not an amount in JPY')
})
