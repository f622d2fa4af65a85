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
 * must stay what it was. Postgres first, then the copy in ClickHouse: after a crash in between, `syncMeters` or the
 * retried request makes the copy.
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
  await copyMeter(deps.store, tenant, meter)
  return meter
}

/** Copies what a crash left uncopied. */
export async function syncMeters(deps: MeterDeps): Promise<void> {
  for (const { tenantId } of await listTenants(deps.pool)) {
    const meters = await withTenant(deps.pool, tenantId, listMeters)
    if (meters.length === 0) continue
    const copied = await copiedMeters(deps.store, tenantId)
    for (const meter of meters) if (!copied.has(meter.slug)) await copyMeter(deps.store, tenantId, meter)
  }
}
