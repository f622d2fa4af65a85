import type { TenantId } from '../../../schemas/http/door.ts'
import type { Aggregation, MeterWindow } from '../../../schemas/meter/aggregation.ts'
import type { FilterForm } from '../../../schemas/meter/filter.ts'
import type { ValueForm } from '../../../schemas/meter/polynomial.ts'
import type { IdentityTotals } from '../usage.ts'

/** A version of a meter, in force for events whose times lie from `fromMs` until before `untilMs`. */
export type MeterVersion = { fromMs: number; untilMs: number; eventType: string; value: ValueForm; filter: FilterForm }
export type Meter = {
  slug: string
  aggregation: Aggregation
  window: MeterWindow | undefined
  percentile: string | undefined
  versions: readonly MeterVersion[]
}

/** Where an identity stands among all those of a tenant; shards are text, because numbers are too small. */
export type Place = { shard: string; source: string; id: string }
/** What an emitter sent: the first copy that became known. */
export type Copy = { type: string; subject: string; timeMs: number; dataJson: string }
/** An identity with all that was known of it before a moment. The higher its version the earlier a row became known. */
export type Identity = Place & {
  /** The 128-bit hash that digests are sums of. */
  hash: bigint
  /** None where operations on it are all that is known. */
  first: (Copy & { version: bigint; knownAtMs: number }) | undefined
  operations: readonly { version: bigint; type: string; dataJson: string }[]
}
/** `fromMs`: nothing with an earlier time is wanted; undefined where usage reads from before its period. */
export type IdentityQuery = { subjects: readonly string[]; fromMs: number | undefined; knownBeforeMs: number }

/**
 * Reads what was sent, straight from the raw events: no rollup and no view stands in between, so that what is billed can
 * be compared with it.
 */
export type EventReader = {
  meter(tenantId: TenantId, slug: string): Promise<Meter | undefined>
  /** Identities that may count for the subjects, in the order of their places, behind one; others may be among them. */
  identities(tenantId: TenantId, query: IdentityQuery, after: Place | undefined, limit: number): Promise<Identity[]>
  /** All identities of the tenant whose first copy was known before that moment. */
  sealed(tenantId: TenantId, knownBeforeMs: number): Promise<IdentityTotals>
}
