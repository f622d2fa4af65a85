import { withUsage } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'

/** Number and digest of all identities first known before W: digest = sum of 128-bit identity hashes mod 2^128. */
export async function identityTotals(
  store: ClickHouseStore,
  tenant: TenantId,
  knownBeforeMs: number,
): Promise<{ eventCount: string; digest: string }> {
  const rows = await withUsage(store, { tenant, meters: [''], asOfMs: knownBeforeMs }, (usageOf) => {
    const { sql, params } = usageOf({ subjects: 'everything' })
    return store.query<{ count: string; digest_text: string }>(
      `SELECT toString(sum(events)) AS count, toString(sumWithOverflow(digest)) AS digest_text FROM ${sql}`,
      params,
    )
  })
  const [row] = rows
  return { eventCount: row?.count ?? '0', digest: row?.digest_text ?? '0' }
}
