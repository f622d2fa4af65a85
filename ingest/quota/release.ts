import type { Caller } from '../../schemas/http/door.ts'
import { formatMicro } from './limit.ts'
import { type QuotaDeps, visibleTo } from './quota-deps.ts'

/** Ends a hold: what it has left is free again. Answers how much that was; "0" if the hold is gone. */
export async function releaseHold(deps: QuotaDeps, caller: Caller, holdId: string): Promise<string> {
  if (!(await isOurs(deps, caller, holdId))) return '0'
  return formatMicro(await deps.quota.release(caller.tenantId, holdId, deps.now()))
}

/** A hold of a subject that the caller may not see does not exist. A hold is of one subject for ever. */
export async function isOurs(deps: QuotaDeps, caller: Caller, holdId: string): Promise<boolean> {
  if (caller.scope === 'everything') return true
  const subject = await deps.quota.subjectOfHold(caller.tenantId, holdId)
  return subject !== undefined && (await visibleTo(deps, caller))(subject)
}
