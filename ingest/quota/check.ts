import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { formatQuantity, parseQuantity } from '../../schemas/quantity.ts'
import type { Grants } from '../entitlements/grants.ts'
import { toMicro } from './limit.ts'
import type { LimitNow } from './limit-draws.ts'
import { type QuotaDeps, requireVisible } from './quota-deps.ts'
import { limitsOf, type Standing, standingFor, standingOf, type WhichLimits } from './standing.ts'
import { usedOfLimits } from './used-of-limits.ts'
import { whenLoaded } from './when-loaded.ts'

/** A quantity on a meter, or on an entitlement by its name. */
export type Check = WhichLimits & { subject: string; quantity?: string | undefined }
export type Checked = WhichLimits & { subject: string; quantity: string; allowed: boolean; value?: unknown } & Standing

/** Whether each would fit now, by itself. Takes nothing, so it promises nothing: consume or reserve does. */
export async function checkQuota(deps: QuotaDeps, caller: Caller, checks: readonly Check[]): Promise<Checked[]> {
  for (const { meter, feature } of checks) if ((meter === undefined) === (feature === undefined)) throw notOne()
  await requireVisible(
    deps,
    caller,
    checks.map(({ subject }) => subject),
  )
  const config = await deps.config.get(caller.tenantId)
  const nowMs = deps.now()
  // Members that follow a spread cost V8 most of a microsecond each: here they are written out, and spreads stand last.
  const asked = checks.map((check) => {
    const { quantity, micro } = readQuantity(check.quantity)
    const limits = limitsOf(config, caller.tenantId, check.subject, nowMs, check)
    return { check, quantity, draws: limits.map(({ counter, limit, windows }) => ({ counter, limit, windows, micro })) }
  })
  const usedMicro = await readUsed(
    deps,
    asked.flatMap(({ draws }) => draws),
  )
  let first = 0
  return asked.map(({ check: { subject, meter, feature }, quantity, draws }) => {
    if (feature !== undefined && draws.length === 0)
      return { subject, meter, feature, quantity, ...withoutLimit(config.grantsOf(subject), feature) }
    const standing = standingFor(caller, draws, usedMicro.slice(first, first + draws.length))
    first += draws.length
    const allowed = standing.reason.code !== 'limit_exceeded' || !deps.enforceQuota
    return { subject, meter, feature, quantity, allowed, ...standing }
  })
}

/** Nearly always a small whole number, which needs no decimals. */
const SMALL_WHOLE = /^\d{1,15}$/

function readQuantity(text = '1'): { quantity: string; micro: bigint } {
  if (SMALL_WHOLE.test(text)) return { quantity: String(Number(text)), micro: toMicro(Number(text)) }
  const quantity = parseQuantity(text)
  return { quantity: formatQuantity(quantity), micro: toMicro(quantity) }
}

/** A switch says whether it is on, a value is there, and what nobody grants is not allowed. */
function withoutLimit({ features }: Grants, name: string): Standing & { allowed: boolean; value?: unknown } {
  const found = features.find(({ feature }) => feature === name)
  const allowed = found !== undefined && (found.type === 'static' || found.enabled)
  const code = found === undefined ? 'not_entitled' : allowed ? 'feature_on' : 'feature_off'
  const value = found?.type === 'static' ? { value: found.value } : {}
  return { allowed, ...value, ...standingOf([], []), reason: { code, limits: [] } }
}

function notOne(): Problem {
  const message = 'one of meter and feature says what is asked for'
  return new Problem('invalid_request', `${message}.`, { errors: [{ path: 'checks', message }] })
}

/** What is used of limits, in their order; counters that are missing are loaded. */
export async function readUsed(deps: QuotaDeps, limits: readonly LimitNow[]): Promise<readonly bigint[]> {
  if (limits.length === 0) return []
  const { usedMicro } = await whenLoaded(deps.loadCounters, () => usedOfLimits(deps.quota, limits, deps.now()))
  return usedMicro
}
