import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'

export type StoredIdentity = { shard: string; id: string }

/**
 * Identities stored under a source, in the order of (shard, id), after one of them: a page of a scan along the table's
 * order, so that reading all pages costs about one scan of the tenant's sources. Operations are none.
 */
export async function identitiesUnder(
  usage: ClickHouseStore,
  tenant: TenantId,
  source: string,
  after: StoredIdentity | undefined,
  limit: number,
): Promise<StoredIdentity[]> {
  return usage.query<StoredIdentity>(
    `SELECT toString(events.shard) AS shard, events.id AS id FROM events
     WHERE tenant = {tenant:UInt32} AND source = {source:String} AND NOT startsWith(type, 'tallyline.')
       AND (events.shard > {afterShard:UInt64}
         OR (events.shard = {afterShard:UInt64} AND events.id > {afterId:String}))
     ORDER BY events.shard, source, events.id LIMIT 1 BY events.shard, events.id LIMIT {limit:UInt32}`,
    { tenant, source, afterShard: after?.shard ?? '0', afterId: after?.id ?? '', limit },
  )
}

/** How many identities are stored under a source. */
export async function countIdentitiesUnder(usage: ClickHouseStore, tenant: TenantId, source: string): Promise<number> {
  const [row] = await usage.query<{ identities: string }>(
    `SELECT toString(uniqExact(id)) AS identities FROM events
     WHERE tenant = {tenant:UInt32} AND source = {source:String} AND NOT startsWith(type, 'tallyline.')`,
    { tenant, source },
  )
  return Number(row?.identities ?? 0)
}
