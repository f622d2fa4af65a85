import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import type { MeterInput } from '../../meters/meter.ts'
import { type MeterDeps, putMeter } from '../../meters/put-meter.ts'
import { groupsOf, type MeterCreate, meterInput, type OpenmeterMeter } from './meter.ts'
import { insertMeter, timesDeleted } from './meters.postgres.ts'
import { ulid } from './ulid.ts'

/**
 * Creates our meter, then theirs. After a crash in between, the same request again finds our meter and goes on. Our
 * meters do not change: one that was deleted there and comes back otherwise counts under the next free slug of ours.
 */
export async function createMeter(deps: MeterDeps, tenant: TenantId, create: MeterCreate): Promise<OpenmeterMeter> {
  const { slug } = create
  const groupBy = groupsOf(create.groupBy)
  const input = meterInput(create, groupBy)
  const deleted = await withTenant(deps.pool, tenant, (tx) => timesDeleted(tx, slug))
  if (deleted === undefined) throw exists(slug)
  const nowMs = deps.now()
  const meter: OpenmeterMeter = {
    ...{ id: ulid(nowMs), slug, eventType: create.eventType, aggregation: create.aggregation, groupBy },
    meter: await putFirstFree(deps, tenant, slug, deleted, input),
    name: create.name ?? null,
    description: create.description ?? null,
    metadata: create.metadata ?? null,
    valueProperty: create.valueProperty ?? null,
    createdAt: new Date(nowMs),
  }
  if (!(await withTenant(deps.pool, tenant, (tx) => insertMeter(tx, meter)))) throw exists(slug)
  return meter
}

async function putFirstFree(deps: MeterDeps, tenant: TenantId, slug: string, deleted: number, input: MeterInput) {
  for (let n = 1; ; n++) {
    // Slugs there have no dash, so these are nobody else's.
    const ours = n === 1 ? slug : `${slug}-${n}`
    try {
      return (await putMeter(deps, tenant, ours, input)).slug
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'conflict' || n > deleted) throw error
    }
  }
}

function exists(slug: string): Problem {
  return new Problem('conflict', `There is a meter ${slug} already`)
}
