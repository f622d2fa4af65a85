import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { ADDED_UP } from '../../schemas/meter/aggregation.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseQuantity } from '../../schemas/quantity.ts'
import { aggregationOf, storeLimit } from './limit.postgres.ts'

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
    const meter = await aggregationOf(tx, input.meter)
    if (!meter) throw new Problem('not_found', `There is no meter ${input.meter}: create it first`)
    if (meter.windowed || !ADDED_UP.includes(meter.aggregation)) {
      const message = `has no limit: what an event adds to a ${meter.aggregation} is not known when it arrives`
      throw new Problem('invalid_request', `Meter ${input.meter} ${message}`, { errors: [{ path: 'meter', message }] })
    }
    await storeLimit(tx, stored, new Date(deps.now()))
  })
  return stored
}
