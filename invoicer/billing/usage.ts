import type { TenantId } from '../../schemas/http/door.ts'
import type { Quantity } from '../../schemas/quantity.ts'

/** What a meter counted for some subjects in [startMs, endMs). `key` names the answer. */
export type UsageRequest = { key: string; meter: string; subjects: string[]; startMs: number; endMs: number }

/** The quantity, of how many events it is made, and the sum of their 128-bit identity hashes mod 2^128. */
export type MeteredUsage = { quantity: Quantity; events: number; digest: bigint }

/** How many identities were known, each once, whatever meters count of them; and the sum of their hashes as above. */
export type IdentityTotals = { events: number; digest: bigint }

/**
 * Reads exact usage, of thousands of subscriptions in one call: the events whose first copy was known before
 * `knownBefore`. All or error: every key is answered, with zeroes where there is no usage, or the call throws; usage
 * that could not be read is never 0.
 */
export type UsageReader = {
  quantities(
    tenantId: TenantId,
    knownBefore: Date,
    requests: readonly UsageRequest[],
  ): Promise<Map<string, MeteredUsage>>
  /** Everything of the tenant that `quantities` selects from: what a seal of that moment has to agree with. */
  identityTotals(tenantId: TenantId, knownBefore: Date): Promise<IdentityTotals>
}
