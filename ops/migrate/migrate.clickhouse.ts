import { createHash } from 'node:crypto'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { type MigrationFile, migrationFiles } from '../../schemas/files.ts'

/**
 * Brings ClickHouse up to date. It has no transactions: each statement is made repeatable (IF NOT EXISTS), and a
 * migration's row is written after its last statement, so a crash half-way repeats the migration.
 */
export async function migrateClickHouse(store: ClickHouseStore): Promise<string[]> {
  return run(store, await pendingOf(store, migrationFiles('clickhouse')))
}

export type AccessMigration = { done: string[]; skipped?: { names: string[]; why: string } }

/** Tables with row policies in `servers/`. */
export const GUARDED_TABLES = ['events', 'usage_rollup', 'shard_changes', 'shard_heads', 'meter_versions'] as const

/**
 * Role, row policies and grants of analysts, on servers only: the embedded ClickHouse knows no users. Whatever
 * ClickHouse answers to them, such as that its user may not manage access, is no error, because only analysts go
 * without; but whoever calls has to say so.
 */
export async function migrateClickHouseAccess(store: ClickHouseStore): Promise<AccessMigration> {
  const pending = await pendingOf(store, migrationFiles('clickhouse/servers'))
  const skipped = (why: string) => ({ done: [], skipped: { names: pending.map(({ name }) => name), why } })
  if (pending.length === 0) return { done: [] }
  try {
    const others = await otherRowPolicies(store)
    if (others.length > 0) return skipped(`tallyline_everybody would undo other row policies (${others.join(', ')}).`)
    return { done: await run(store, pending) }
  } catch (error) {
    // Errors of a connection have names for codes, those of our own none.
    const code = String((error as { code?: unknown } | undefined)?.code)
    if (!(error instanceof Error) || !/^\d+$/.test(code)) throw error
    return skipped(`${error.message.trim()} (code ${code}).`)
  }
}

/** Row policies that are not of this product, on a table with ours or on all; a new one for everybody would undo them. */
async function otherRowPolicies(store: ClickHouseStore): Promise<string[]> {
  // A policy of a whole database names no table.
  const rows = await store.query<{ name: string }>(
    `SELECT name FROM system.row_policies
     WHERE database = currentDatabase() AND table IN {tables:Array(String)}
       AND NOT startsWith(short_name, 'tallyline_')
     ORDER BY name`,
    { tables: ['', ...GUARDED_TABLES] },
  )
  return rows.map(({ name }) => name)
}

/** What was skipped, why, and what to do, as a line; undefined when nothing was. */
export function skippedLine({ skipped }: AccessMigration): string | undefined {
  if (!skipped) return undefined
  const files = skipped.names.map((name) => `schemas/clickhouse/${name}`).join(', ')
  return `analysts' role and row policies were skipped: ${skipped.why} Run ${files} as a user that may manage access`
}

type Pending = { name: string; sql: string; sha256: string }

/** Those that have not been applied yet. */
async function pendingOf(store: ClickHouseStore, files: readonly MigrationFile[]): Promise<Pending[]> {
  await store.command(
    `CREATE TABLE IF NOT EXISTS migrations (name String, sha256 String)
     ENGINE = ReplacingMergeTree ORDER BY name SETTINGS fsync_after_insert = 1`,
  )
  const applied = new Map(
    (await store.query<{ name: string; sha256: string }>('SELECT name, sha256 FROM migrations')).map((row) => [
      row.name,
      row.sha256,
    ]),
  )
  const pending: Pending[] = []
  for (const { name, sql } of files) {
    const sha256 = createHash('sha256').update(sql).digest('hex')
    const before = applied.get(name)
    if (before !== undefined && before !== sha256)
      throw new Error(`Migration ${name} was changed after it ran: add a new one instead`)
    if (before === undefined) pending.push({ name, sql, sha256 })
  }
  return pending
}

async function run(store: ClickHouseStore, pending: readonly Pending[]): Promise<string[]> {
  for (const { name, sql, sha256 } of pending) {
    for (const statement of statementsOf(sql)) await store.command(statement)
    await store.command('INSERT INTO migrations SELECT {name:String}, {sha256:String}', { name, sha256 })
  }
  return pending.map(({ name }) => name)
}

/** Statements end with a semicolon at a line's end; comments and blank statements are left out. */
export function statementsOf(sql: string): string[] {
  return sql
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('--'))
    .join('\n')
    .split(/;\s*$/m)
    .map((statement) => statement.trim().replace(/^CREATE (TABLE|VIEW) /, 'CREATE $1 IF NOT EXISTS '))
    .filter((statement) => statement !== '')
}
