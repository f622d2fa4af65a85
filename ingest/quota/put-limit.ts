import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { ADDED_UP } from '../../schemas/meter/aggregation.ts'
import { type TenantTransaction, withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseQuantity } from '../../schemas/quantity.ts'
import { aggregationOf, hasEntitlement, removeLimit, storeLimit } from './limit.postgres.ts'

export type LimitInput = { subject: string; meter: string; limit: string; window: 'day' | 'month' }

/** Sets the limit of a subject on a meter. It holds for the next event; usage of the window so far counts. */
export async function putLimit(
  deps: { pool: Pool; now: () => number },
  tenant: TenantId,
  input: LimitInput,
): Promise<LimitInput> {
  const limit = parseQuantity(input.limit)
  if (limit.isNegative()) {
    throw new Problem('invalid_request', 'A limit is not negative', {
      errors: [{ path: 'limit', message: 'must not be negative' }],
    })
  }
  const stored = { ...input, limit: formatQuantity(limit) }
  await withTenant(deps.pool, tenant, async (tx) => {
    await requireLimitable(tx, input.meter)
    if (await hasEntitlement(tx, input.subject, input.meter)) {
      const path = `/api/v1/entitlements/subject/${encodeURIComponent(input.subject)}/${input.meter}`
      throw new Problem('conflict', `An entitlement of that name says what holds: change it with PUT ${path}`)
    }
    await storeLimit(tx, stored, new Date(deps.now()))
  })
  return stored
}

/** Fails unless the meter is there and adds up event by event. It is not archived before the transaction ends. */
export async function requireLimitable(tx: TenantTransaction, slug: string): Promise<void> {
  const meter = await aggregationOf(tx, slug)
  if (!meter) throw new Problem('not_found', `There is no meter ${slug}: create it first`)
  if (!meter.windowed && ADDED_UP.includes(meter.aggregation)) return
  const message = `has no limit: what an event adds to a ${meter.aggregation} is not known when it arrives`
  throw new Problem('invalid_request', `Meter ${slug} ${message}`, { errors: [{ path: 'meter', message }] })
}

/** Takes a limit away. */
export async function deleteLimit(pool: Pool, tenant: TenantId, subject: string, meter: string): Promise<void> {
  const removed = await withTenant(pool, tenant, (tx) => removeLimit(tx, subject, meter))
  if (!removed) throw new Problem('not_found', `The subject ${subject} has no limit on ${meter}`)
}
