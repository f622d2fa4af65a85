import { describe, expect, test } from 'vitest'
import { rolledOver } from '../../../../invoicer/collection/credits/roll-over.ts'
import type { Rollover } from '../../../../invoicer/collection/credits/terms.ts'

const EXPIRY = Date.UTC(2024, 1, 1)
const DAY_MS = 86_400_000
const terms = (change: Partial<Rollover> = {}): Rollover => {
  return { max_amount: null, max_percent: null, expires_after_days: 30, times: 1, ...change }
}
const roll = (rollover: Rollover | null, remainingMinor = 8_000n, change: object = {}) =>
  rolledOver(
    { amountMinor: 10_000n, remainingMinor, currency: 'USD', expiresAtMs: EXPIRY, rollover, ...change },
    null,
    'UTC',
  )

describe('what is left of credit when it expires', () => {
  test('goes on whole, up to an amount, up to a share of what was given, or the smaller of these', () => {
    expect(roll(terms())?.amountMinor).toBe(8_000n)
    expect(roll(terms({ max_amount: '50.00' }))?.amountMinor).toBe(5_000n)
    expect(roll(terms({ max_percent: '33.333' }))?.amountMinor).toBe(3_333n)
    expect(roll(terms({ max_amount: '20.00', max_percent: '50' }))?.amountMinor).toBe(2_000n)
    expect(roll(terms({ max_amount: '50.00' }), 100n)?.amountMinor).toBe(100n)
    // Half a minor unit is rounded away from zero, as money is.
    expect(roll(terms({ max_percent: '12.5' }), 10n, { amountMinor: 4n })?.amountMinor).toBe(1n)
    expect(roll(terms({ max_percent: '50' }), 1n, { amountMinor: 1n, currency: 'JPY' })?.amountMinor).toBe(1n)
  })

  test('takes the new expiry, and may do so again as often as is left', () => {
    expect(roll(terms({ times: 3 }))).toMatchObject({ expiresAtMs: EXPIRY + 30 * DAY_MS, rollover: { times: 2 } })
    expect(roll(terms())?.rollover).toBeNull()
    const schedule = { cadence: { interval: 'month', every: 1 } as const, zone: 'UTC', startMs: Date.UTC(2023, 11, 1) }
    const grant = { amountMinor: 9n, remainingMinor: 9n, currency: 'USD', expiresAtMs: EXPIRY }
    const until = rolledOver({ ...grant, rollover: terms({ expires_after_days: null }) }, schedule, 'UTC')
    expect(until?.expiresAtMs).toBe(Date.UTC(2024, 2, 1))
  })

  test('is lost where nothing is left, nothing was agreed, or the share of it is nothing', () => {
    expect(roll(null)).toBeNull()
    expect(roll(terms(), 0n)).toBeNull()
    expect(roll(terms({ max_percent: '0.001' }), 1n, { amountMinor: 1n })).toBeNull()
    expect(roll(terms(), 5n, { expiresAtMs: null })).toBeNull()
  })
})
