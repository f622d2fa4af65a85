import type { Caller } from '../../schemas/http/door.ts'
import { parseQuantity } from '../../schemas/quantity.ts'
import { type Granted, grantHold, type HoldInput } from './grant-hold.ts'
import { formatMicro, toMicroFloor } from './limit.ts'
import type { QuotaDeps } from './quota-deps.ts'
import { isOurs } from './release.ts'

/** Holds what there is of a quantity, for decisions in the caller's own process. */
export async function leaseQuota(deps: QuotaDeps, caller: Caller, key: string, input: HoldInput): Promise<Granted> {
  return grantHold(deps, caller, 'lease', key, input)
}

/**
 * Frees what a lease did not use, at most what it still has. What is neither returned nor used goes back when it
 * expires. Answers what was freed; the same amount again is taken for the same call.
 */
export async function returnLease(deps: QuotaDeps, caller: Caller, leaseId: string, unused: string): Promise<string> {
  const micro = toMicroFloor(parseQuantity(unused))
  if (micro <= 0n || !(await isOurs(deps, caller, leaseId))) return '0'
  return formatMicro(await deps.quota.returnUnused(caller.tenantId, leaseId, micro, deps.now()))
}
