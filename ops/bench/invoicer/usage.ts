import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { v7 } from 'uuid'
import { syncMeters } from '../../../aggregator/meters/put-meter.ts'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import { createClickHouseUsageReader } from '../../../invoicer/billing/usage.clickhouse.ts'
import type { UsageReader } from '../../../invoicer/billing/usage.ts'
import { shardOf } from '../../../schemas/event/identity.ts'
import { encodeBatch, type LogRow } from '../../../schemas/event/usage-batch.avro.ts'
import { encodeEvent } from '../../../schemas/event/usage-event.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import { migrateClickHouse } from '../../migrate/migrate.clickhouse.ts'
import type { CatalogDeps } from '../catalog.ts'
import { EVENT_TYPE, SOURCE } from '../events.ts'

/** Enough for every metered line to cost something, and to reach the second tier. */
const TOKENS = 400_000
/** Behind the middle of the month, so that who begins there has used something too. */
const INTO_THE_MONTH_MS = 20 * 86_400_000
const EVENTS_PER_RECORD = 250

/** The same usage for everybody, from memory: so the figure is that of the invoicer alone. */
export const constantUsage: UsageReader = {
  quantities: async (_tenant, _knownBefore, requests) => {
    const usage = { quantity: parseQuantity(String(TOKENS)), events: 1, digest: 1n }
    return new Map(requests.map(({ key }) => [key, usage]))
  },
  identityTotals: async () => ({ events: 0, digest: 0n }),
  changed: async () => [],
}

/** One event a subject and month, in rollups as the aggregator leaves them. */
export async function storedUsage(
  deps: CatalogDeps & { logger: Logger },
  tenant: TenantId,
  subjects: readonly string[],
  months: readonly number[],
): Promise<UsageReader> {
  const { store } = deps
  await migrateClickHouse(store)
  await syncMeters(deps)
  for (const monthMs of months) await insertRecords(store, randomUUID(), recordsOf(tenant, subjects, monthMs))
  while ((await rebuildTenant({ ...deps, random20: () => 1 }, tenant)) > 0);
  return createClickHouseUsageReader(store)
}

/** The times in the ids differ by less than a shard's slice, so a month is a shard or two. */
function recordsOf(tenant: TenantId, subjects: readonly string[], monthMs: number): LogRow[] {
  const data = JSON.stringify({ context_tokens: TOKENS, generated_tokens: TOKENS })
  const encoded = subjects.map((subject) => {
    const identity = { tenant, source: SOURCE, id: v7({ msecs: monthMs + INTO_THE_MONTH_MS }) }
    const time = { timeMs: monthMs + INTO_THE_MONTH_MS, timeGiven: true }
    return encodeEvent({ ...identity, shard: shardOf(identity), type: EVENT_TYPE, subject, ...time, data })
  })
  const rows: LogRow[] = []
  for (let first = 0; first < encoded.length; first += EVENTS_PER_RECORD) {
    const batch = encodeBatch(encoded.slice(first, first + EVENTS_PER_RECORD))
    rows.push({ knownAtMs: monthMs + INTO_THE_MONTH_MS + 3_600_000, partition: 0, offset: rows.length, batch })
  }
  return rows
}
