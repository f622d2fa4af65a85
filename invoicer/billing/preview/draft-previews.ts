import { KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { Period } from '../../../schemas/time/period.ts'
import type { ToRate } from '../due.ts'
import { type Draft, draftShares } from '../lines.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { type RatablePeriod, ratable, sharesOf, usageRequests } from '../shares.ts'
import { embeddedTax, type TaxEngine, type TaxOf } from '../tax/tax-port.ts'
import { readQuantities, type UsageReader } from '../usage.ts'
import { usageUntil } from './period-holding.ts'

export type ToPreview = { subscription: ToRate; period: Period }

/** Not the present moment: as of a moment, what changed in its hour is counted from events, of which there may be millions. */
const EVERYTHING_KNOWN = new Date(KNOWN_UNTIL_NOW_MS)

/**
 * The invoices that periods would have now, tax included, in their order, with one reading of the usage that is known now. What cannot
 * be rated answers why; a reading that fails throws, because nothing is known then. Nothing is stored.
 */
export async function draftPreviews(
  usage: UsageReader,
  tenantId: TenantId,
  nowMs: number,
  wanted: readonly ToPreview[],
  planOf: PlanOf,
  taxOf: TaxOf,
  engine: TaxEngine = embeddedTax,
): Promise<(Draft | Error)[]> {
  const all = wanted.map(({ subscription, period }) => orError(() => ratable(subscription, period, planOf)))
  const requests = wanted.flatMap(({ subscription, period }, place) => {
    const one = all[place]
    if (one === undefined || one instanceof Error) return []
    return usageRequests(String(place), subscription.subjects, one, usageUntil(period, nowMs))
  })
  const answers = await readQuantities(usage, tenantId, EVERYTHING_KNOWN, requests)
  const drafts = wanted.map(({ subscription }, place) => {
    const one: RatablePeriod | Error = all[place] ?? new Error('Nothing was rated.')
    if (one instanceof Error) return one
    return orError(() => draftShares(sharesOf(String(place), one, answers, subscription.terms.zone)))
  })
  return Promise.all(wanted.map((one, place) => withTax(one, drafts[place], engine, taxOf, nowMs)))
}

/** As of the moment at which it can be issued. */
async function withTax(
  { subscription, period }: ToPreview,
  draft: Draft | Error | undefined,
  engine: TaxEngine,
  taxOf: TaxOf,
  nowMs: number,
): Promise<Draft | Error> {
  const context = taxOf(subscription.customerId)
  if (draft === undefined) return new Error('Nothing was drafted.')
  if (draft instanceof Error || context === undefined) return draft
  try {
    return await engine(draft, context, Math.max(nowMs, period.endMs))
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

function orError<T>(work: () => T): T | Error {
  try {
    return work()
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}
