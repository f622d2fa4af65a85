import { type QuotaLimit, windowOf } from '../../ingest/quota/limit.ts'

type Given = { meter: string; limitMicro: bigint } & Partial<QuotaLimit>

/** A subject's own limit per calendar window, hard and closed unless said otherwise. */
export function quotaLimit(given: Given): QuotaLimit {
  const { window = 'month', subject = 'customer-1' } = given
  return {
    ...{ feature: given.meter, grantedBy: 'subject', subject, holder: subject, window },
    windowAt: (timeMs) => windowOf(timeMs, window === 'billing_period' ? 'month' : window),
    ...{ whenAway: 'closed', thresholds: [] },
    ...given,
  }
}
