import type { BillingRunReport } from './billing-run.ts'

/** How fast a run is, and when everything will be issued at that pace; null where nothing can be said yet. */
export type Pace = { invoicesPerSecond: number | null; issuedAtMs: number | null }

/**
 * From when it came to its first invoice to the last one so far. Time that it stood still counts, so that a run which was
 * continued looks slower than it is.
 */
export function paceOf(report: BillingRunReport): Pace {
  const { billingSinceMs, lastInvoiceMs, invoicesCreated, subscriptionsDue, subscriptionsLeft } = report
  const tookMs = billingSinceMs === null || lastInvoiceMs === null ? 0 : lastInvoiceMs - billingSinceMs
  if (lastInvoiceMs === null || tookMs <= 0) return { invoicesPerSecond: null, issuedAtMs: null }
  const invoicesPerSecond = Math.round((invoicesCreated / tookMs) * 1_000_000) / 1000
  if (report.state !== 'running' || subscriptionsDue === null || subscriptionsLeft === null) {
    return { invoicesPerSecond, issuedAtMs: null }
  }
  const done = subscriptionsDue - subscriptionsLeft
  const leftMs = (subscriptionsLeft * tookMs) / done
  return { invoicesPerSecond, issuedAtMs: done <= 0 ? null : Math.round(lastInvoiceMs + leftMs) }
}
