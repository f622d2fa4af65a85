import type { Caller } from '../../schemas/http/door.ts'
import type { Feature } from '../entitlements/grants.ts'
import { readUsed } from './check.ts'
import { type QuotaDeps, visibleTo } from './quota-deps.ts'
import { type LimitState, limitsOf, standingFor } from './standing.ts'

/** What a subject may use, and what is used of it; a limit `allows` if anything more fits. A foreign subject has nothing. */
export async function readQuota(
  deps: QuotaDeps,
  caller: Caller,
  subject: string,
): Promise<{ limits: LimitState[]; features: readonly Feature[] }> {
  const isVisible = await visibleTo(deps, caller)
  if (!isVisible(subject)) return { limits: [], features: [] }
  const config = await deps.config.get(caller.tenantId)
  const draws = limitsOf(config, caller.tenantId, subject, deps.now()).map((limit) => ({ ...limit, micro: 1n }))
  const { limits } = standingFor(caller, draws, await readUsed(deps, draws)).reason
  return { limits, features: config.grantsOf(subject).features }
}
