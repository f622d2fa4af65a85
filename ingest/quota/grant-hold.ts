import { hash } from 'node:crypto'
import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import type { Scope } from '../../schemas/http/scope.ts'
import { parseQuantity } from '../../schemas/quantity.ts'
import { formatMicro, toMicro } from './limit.ts'
import { drawsFor } from './limit-draws.ts'
import { type QuotaDeps, requireVisible } from './quota-deps.ts'
import { counterId } from './quota-store.ts'
import { limitsOf, type Standing, standingFor, standingOf } from './standing.ts'
import { whenLoaded } from './when-loaded.ts'

export type HoldInput = { subject: string; meter: string; quantity: string; expiresInMs: number }
/** `quantity` is what was granted: "0" if nothing fits. The standing is that right after it. */
export type Granted = { holdId: string; quantity: string; expiresAt: string; standing: Standing }

/**
 * Sets quota aside under an idempotency key: the same key again is answered as before and holds nothing more, for 15
 * minutes after the hold has ended. Where there is no limit all is granted, and nothing needs to be remembered.
 */
export async function grantHold(
  deps: QuotaDeps,
  caller: Caller,
  kind: 'reserve' | 'lease',
  key: string,
  { subject, meter, quantity, expiresInMs }: HoldInput,
): Promise<Granted> {
  await requireVisible(deps, caller, [subject])
  const askedMicro = toMicro(parseQuantity(quantity))
  if (askedMicro <= 0n)
    throw new Problem('invalid_request', 'quantity must be more than 0.', {
      errors: [{ path: 'quantity', message: 'must be more than 0' }],
    })
  const { tenantId: tenant } = caller
  const config = await deps.config.get(tenant)
  const id = holdIdOf(caller, kind, key)
  const nowMs = deps.now()
  const limits = limitsOf(config, tenant, subject, nowMs, { meter })
  const expiresAt = (ms: number) => new Date(ms).toISOString()
  if (limits.length === 0) {
    const standing = standingOf([], [])
    return { holdId: id, quantity: formatMicro(askedMicro), expiresAt: expiresAt(nowMs + expiresInMs), standing }
  }
  const partly = kind === 'lease'
  const draws = drawsFor(limits, askedMicro)
  const request = { id, tenant, subject, meter, askedMicro, limits: draws, partly, lastsMs: expiresInMs }
  const { hold, usedMicro } = await whenLoaded(deps.loadCounters, () =>
    deps.quota.hold(request, deps.now(), deps.enforceQuota),
  )
  if (hold && (hold.subject !== subject || hold.meter !== meter || hold.askedMicro !== askedMicro))
    throw new Problem('conflict', 'This Idempotency-Key asked for something else before: send another one.')
  const micro = hold ? 0n : askedMicro
  const usedOf = new Map(draws.map(({ counter }, place) => [counterId(counter), usedMicro[place] ?? 0n]))
  const standing = standingFor(
    caller,
    limits.map((limit) => ({ ...limit, micro })),
    limits.map(({ counter }) => usedOf.get(counterId(counter)) ?? 0n),
  )
  const quantityGranted = formatMicro(hold?.grantedMicro ?? 0n)
  return { holdId: id, quantity: quantityGranted, expiresAt: expiresAt(hold?.expiresAtMs ?? nowMs), standing }
}

/**
 * The same key of a tenant is the same hold; a reservation and a lease of one key are two. A caller with a scope shares
 * its keys with that scope alone: it neither meets nor learns what others chose.
 */
function holdIdOf({ tenantId, scope }: Caller, kind: string, key: string): string {
  // What came as a header has no line break in it.
  const parts = [tenantId, kind, key, ...(scope === 'everything' ? [] : [nameOf(scope)])]
  return `hold-${hash('sha256', parts.join('\n'), 'hex').slice(0, 32)}`
}

function nameOf(scope: Exclude<Scope, 'everything'>): string {
  return 'customer' in scope ? `customer ${scope.customer}` : `subjects ${JSON.stringify(scope.subjects.toSorted())}`
}
