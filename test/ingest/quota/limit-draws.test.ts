import { describe, expect, test } from 'vitest'
import type { QuotaLimit } from '../../../ingest/quota/limit.ts'
import { drawsFor } from '../../../ingest/quota/limit-draws.ts'
import { NO_LIMIT_MICRO } from '../../../ingest/quota/quota-store.ts'
import { quotaLimit } from '../../support/quota-limit.ts'

const NOVEMBER = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
const COUNTER = { tenant: 1, subject: 's', meter: 'm', ...NOVEMBER }
const limit = (feature: string, limitMicro: bigint, change: Partial<QuotaLimit> = {}) => ({
  counter: { ...COUNTER },
  limit: quotaLimit({ feature, meter: 'm', limitMicro, ...change }),
})
const drawn = (...limits: ReturnType<typeof limit>[]) =>
  drawsFor(limits, 7n).map(({ micro, limitMicro, softMicro, limit: least, others }) => ({
    ...{ micro, limitMicro, softMicro, least: least.feature, others: others.map(({ feature }) => feature) },
  }))

/** A month and the billing period of whoever has no subscription are the same window: an event must not count twice. */
describe('draws for limits', () => {
  test('are one a counter, for the least limit that refuses and the least that does not', () => {
    const [month, period] = [limit('month', 30n), limit('period', 20n, { window: 'billing_period' })]
    const [soft, softer] = [limit('soft', 10n, { soft: true }), limit('softer', 15n, { soft: true })]
    const expected = { micro: 7n, limitMicro: 20n, softMicro: 10n, least: 'soft' }
    expect(drawn(month, period, softer, soft)).toEqual([{ ...expected, others: ['month', 'period', 'softer'] }])
    expect(drawn(soft, softer, period, month)).toEqual([{ ...expected, others: ['softer', 'period', 'month'] }])
    expect(drawn(month)).toEqual([{ micro: 7n, limitMicro: 30n, softMicro: undefined, least: 'month', others: [] }])
    expect(drawn(soft)).toMatchObject([{ limitMicro: NO_LIMIT_MICRO, softMicro: 10n }])
  })

  test('are apart where counter, holder or window differ', () => {
    const one = limit('one', 30n)
    const changes = [
      { subject: 't' },
      { meter: 'n' },
      { startMs: 0 },
      { endMs: NOVEMBER.endMs + 1 },
      { ofCustomer: true as const },
    ]
    for (const change of changes) {
      const other = { ...one, counter: { ...one.counter, ...change } }
      expect(drawsFor([one, other], 1n)).toHaveLength(2)
    }
  })
})
