import { statementsOf } from '../../ops/migrate/migrate.clickhouse.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { schemaFile } from '../../schemas/files.ts'

/** Every copy counts: events are no longer brought together by identity. */
export function countCopies(store: ClickHouseStore): Promise<void> {
  return alterView(store, 'GROUP BY tenant, shard, source, id\n', 'GROUP BY tenant, shard, source, id, version\n')
}

/** A rebuild adds to what is there: the rows of every run are read, not those of the head's. */
export function readEveryRun(store: ClickHouseStore): Promise<void> {
  return alterView(
    store,
    'AND (shard, run) IN (SELECT shard, run FROM shards_known)',
    'AND shard IN (SELECT shard FROM shards_known WHERE run > 0)',
  )
}

/** What is known later counts too: the W of a seal is not looked at where events are read. */
export function forgetSeals(store: ClickHouseStore): Promise<void> {
  return alterView(store, 'AND known_at < as_of\n', '\n')
}

/** The view as the product has it. */
export function soundView(store: ClickHouseStore): Promise<void> {
  return alterView(store, '', '')
}

/** Replaces usage_rows by the product's own text with one change; the change must fit, or there is no planted bug. */
export function alterView(store: ClickHouseStore, from: string, to: string): Promise<void> {
  return changeView(store, [[from, to]])
}

export async function changeView(
  store: ClickHouseStore,
  changes: readonly (readonly [from: string, to: string])[],
): Promise<void> {
  const view = statementsOf(schemaFile('clickhouse/0005-usage-views.sql')).find((sql) => sql.includes(' usage_rows AS'))
  let changed = view ?? ''
  for (const [from, to] of changes) {
    if (!changed.includes(from)) throw new Error(`usage_rows no longer has the text ${from}: plant the bug anew`)
    changed = changed.replace(from, to)
  }
  await store.command('DROP VIEW usage_rows')
  await store.command(changed)
}
