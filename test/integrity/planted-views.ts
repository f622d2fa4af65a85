import { statementsOf } from '../../ops/migrate/migrate.clickhouse.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { schemaFile } from '../../schemas/files.ts'

/** Every copy counts: events are no longer brought together by identity. */
export function countCopies(store: ClickHouseStore): Promise<void> {
  return changeView(store, [
    ['GROUP BY tenant, shard, source, id\n', 'GROUP BY tenant, shard, source, id, version\n'],
    ['LIMIT 1 BY tenant, shard, source, id\n', 'LIMIT 1 BY tenant, shard, source, id, version\n'],
  ])
}

/** A rebuild adds to what is there: whoever reads through this gets the rows of every run, not those of the head's. */
export function readingEveryRun(store: ClickHouseStore): ClickHouseStore {
  return rereading(store, [['(shard, run) IN (SELECT shard, run FROM', '(shard, 0) IN (SELECT shard, 0 FROM']])
}

/** What is known later counts too: the W of a seal is not looked at where events are read. */
export function forgetSeals(store: ClickHouseStore): Promise<void> {
  return changeView(store, [
    ['AND known_at < as_of\n', '\n'],
    ["AND known_at < fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC')\n", '\n'],
  ])
}

/** The views as the product has them. */
export function soundView(store: ClickHouseStore): Promise<void> {
  return changeView(store, [])
}

/** Rollups are read without a view: the store, with changes in the text that reads them; each must fit there. */
export function rereading(
  store: ClickHouseStore,
  changes: readonly (readonly [from: string, to: string])[],
): ClickHouseStore {
  return {
    ...store,
    query: (sql, params) => {
      if (!sql.includes('(shard, run) IN')) return store.query(sql, params)
      for (const [from] of changes) {
        if (!sql.includes(from)) throw new Error(`Rollups are not read by the text ${from}: plant the bug anew`)
      }
      return store.query(
        changes.reduce((changed, [from, to]) => changed.replace(from, to), sql),
        params,
      )
    },
  }
}

const VIEWS = [
  [' usage_rows AS', 'clickhouse/0011-level-changes.sql'],
  [' usage_from_shards AS', 'clickhouse/0013-usage-of-shards.sql'],
  [' usage_from_events AS', 'clickhouse/0013-usage-of-shards.sql'],
] as const

/**
 * Replaces the views that count by the product's own text with changes, each wherever it fits; it must fit somewhere, or
 * there is no planted bug.
 */
export async function changeView(
  store: ClickHouseStore,
  changes: readonly (readonly [from: string, to: string])[],
): Promise<void> {
  const texts = VIEWS.map(([name, file]) => statementsOf(schemaFile(file)).find((sql) => sql.includes(name)) ?? '')
  for (const [from] of changes) {
    if (!texts.some((text) => text.includes(from))) throw new Error(`No view has the text ${from}: plant the bug anew`)
  }
  for (const text of texts) {
    // CREATE OR REPLACE stands in each.
    await store.command(changes.reduce((changed, [from, to]) => changed.replace(from, to), text))
  }
}
