import type { Pool } from 'pg'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { invalidMeter } from '../../schemas/meter/path.ts'
import { listTenants, type TenantTransaction, withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { floorToMinute } from '../../schemas/time/period.ts'
import { copiedRevisions, copyVersion } from './meter.clickhouse.ts'
import {
  findAnyMeter,
  insertMeter,
  insertVersion,
  listAllMeters,
  lockMeters,
  setArchived,
  updateMeter,
} from './meter.postgres.ts'
import {
  defineMeter,
  fixedMemberChanged,
  type Meter,
  type MeterDefinition,
  type MeterInput,
  sameMeasure,
} from './meter.ts'

export type MeterDeps = { pool: Pool; store: ClickHouseStore; now: () => number }

/** Of the first version: every event counts, whenever it happened. */
const ALWAYS_MS = 0

/**
 * Creates a meter, or a version of it that counts events from a time on that is not past: what was billed with a meter
 * stays what it was. The same definition again answers the stored one, and takes an archived one back. Postgres first,
 * then the copy in ClickHouse: after a crash in between, the next meter, the retried request or `syncMeters` makes it.
 */
export async function putMeter(deps: MeterDeps, tenant: TenantId, slug: string, input: MeterInput): Promise<Meter> {
  const definition = defineMeter(slug, input)
  const at = new Date(deps.now())
  const meter = await withTenant(deps.pool, tenant, async (tx) => {
    await lockMeters(tx)
    const before = await findAnyMeter(tx, slug)
    if (!before) await createFirst(tx, definition, input.effective_from, at)
    else await changeMeter(tx, before, definition, input.effective_from, at)
    return findAnyMeter(tx, slug)
  })
  if (!meter) throw new Error(`Meter ${slug} was not stored`)
  await copyMissing(deps, tenant)
  return meter
}

async function createFirst(
  tx: TenantTransaction,
  definition: MeterDefinition,
  effectiveFrom: string | undefined,
  at: Date,
): Promise<void> {
  if (effectiveFrom !== undefined)
    throw invalidMeter('effective_from', 'leave it out: the first version of a meter counts events of all times')
  const revision = await insertMeter(tx, definition, at)
  await insertVersion(tx, definition, { version: 1, effectiveFromMs: ALWAYS_MS, revision }, at)
}

async function changeMeter(
  tx: TenantTransaction,
  before: Meter,
  definition: MeterDefinition,
  effectiveFrom: string | undefined,
  at: Date,
): Promise<void> {
  const { slug } = definition
  const fixed = fixedMemberChanged(before, definition)
  if (fixed !== undefined) {
    throw new Problem(
      'conflict',
      `Meter ${slug} exists with another definition, and ${fixed} is the same in all its versions: create another slug.`,
    )
  }
  const newest = before.versions.at(-1)
  if (sameMeasure(before, definition)) {
    if (effectiveFrom !== undefined && readMinute(effectiveFrom) !== newest?.effectiveFromMs)
      throw new Problem('conflict', `Meter ${slug} has this definition already, from another time on.`)
    if (before.archived) await setArchived(tx, slug, undefined)
    return
  }
  if (effectiveFrom === undefined) {
    throw new Problem(
      'conflict',
      `Meter ${slug} exists with another definition. Give effective_from for a version that counts events from then on.`,
    )
  }
  const effectiveFromMs = readEffectiveFrom(effectiveFrom, at, newest?.effectiveFromMs ?? ALWAYS_MS)
  const revision = await updateMeter(tx, definition, at)
  await insertVersion(tx, definition, { version: (newest?.version ?? 0) + 1, effectiveFromMs, revision }, at)
  if (before.archived) await setArchived(tx, slug, undefined)
}

const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/

function readMinute(text: string): number {
  const ms = INSTANT.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms)) throw invalidMeter('effective_from', 'must be an RFC 3339 instant such as 2026-12-01T00:00:00Z')
  return floorToMinute(ms)
}

/** After the version before, and not before the running minute: periods that end in it are not billed yet. */
function readEffectiveFrom(text: string, now: Date, afterMs: number): number {
  const effectiveFromMs = readMinute(text)
  if (effectiveFromMs < floorToMinute(now.getTime()))
    throw invalidMeter('effective_from', 'lies in the past: what was counted until now stays')
  if (effectiveFromMs <= afterMs)
    throw invalidMeter(
      'effective_from',
      `must lie after ${new Date(afterMs).toISOString()}, when the version before begins`,
    )
  return effectiveFromMs
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
  const meters = await withTenant(pool, tenant, listAllMeters)
  if (meters.length === 0) return
  const copied = await copiedRevisions(store, tenant)
  const missing = meters
    .flatMap((meter) => meter.versions.map((version) => ({ ...meter, ...version })))
    .filter(({ revision }) => !copied.has(revision))
  for (const version of missing.sort((a, b) => a.revision - b.revision)) await copyVersion(store, tenant, version)
}
