import type { Pool } from 'pg'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { listTenants, withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { copiedMeters, copyMeter } from './meter.clickhouse.ts'
import { findMeter, insertMeter, listMeters } from './meter.postgres.ts'
import { defineMeter, type Meter, type MeterInput, sameDefinition } from './meter.ts'

export type MeterDeps = { pool: Pool; store: ClickHouseStore; now: () => number }

/**
 * Creates a meter; the same definition again answers the stored one, another is refused: what was billed with a meter
 * must stay what it was. Postgres first, then the copy in ClickHouse: after a crash in between, the next meter, the
 * retried request or `syncMeters` makes the copy.
 */
export async function putMeter(deps: MeterDeps, tenant: TenantId, slug: string, input: MeterInput): Promise<Meter> {
  const definition = defineMeter(slug, input)
  const meter = await withTenant(deps.pool, tenant, async (tx) => {
    const inserted = await insertMeter(tx, definition, new Date(deps.now()))
    return inserted ?? (await findMeter(tx, slug))
  })
  if (!meter || !sameDefinition(meter, definition)) {
    throw new Problem(
      'conflict',
      `Meter ${slug} exists with another definition. Meters do not change: create another slug.`,
    )
  }
  await copyMissing(deps, tenant)
  return meter
}

/** Copies what a crash left uncopied. */
export async function syncMeters(deps: MeterDeps): Promise<void> {
  for (const { tenantId } of await listTenants(deps.pool)) await copyMissing(deps, tenantId)
}

/**
 * In the order of their revisions, so that a revision is never seen in ClickHouse without those below it: a rollup
 * built with it counts as built with all of them.
 */
async function copyMissing({ pool, store }: MeterDeps, tenant: TenantId): Promise<void> {
  const meters = await withTenant(pool, tenant, listMeters)
  if (meters.length === 0) return
  const copied = await copiedMeters(store, tenant)
  const missing = meters.filter((meter) => !copied.has(meter.slug))
  for (const meter of missing.sort((a, b) => a.revision - b.revision)) await copyMeter(store, tenant, meter)
}
