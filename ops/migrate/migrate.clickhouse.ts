import { createHash } from 'node:crypto'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { type MigrationFile, migrationFiles } from '../../schemas/files.ts'

/**
 * Brings ClickHouse up to date. It has no transactions: each statement is made repeatable (IF NOT EXISTS), and a
 * migration's row is written after its last statement, so a crash half-way repeats the migration.
 */
export async function migrateClickHouse(store: ClickHouseStore): Promise<string[]> {
  return apply(store, migrationFiles('clickhouse'))
}

export type AccessMigration = { done: string[]; skipped?: { names: string[]; why: string } }

/** ACCESS_STORAGE_READONLY, ACCESS_DENIED, ACCESS_STORAGE_FOR_INSERTION_NOT_FOUND: from ErrorCodes.cpp of ClickHouse. */
const NO_ACCESS_MANAGEMENT = ['495', '497', '514']

/**
 * Role, row policies and grants of analysts, on servers only: the embedded ClickHouse knows no users. A user that may
 * not manage access, and a server that keeps no users, is no error, but whoever calls has to say so.
 */
export async function migrateClickHouseAccess(store: ClickHouseStore): Promise<AccessMigration> {
  const files = migrationFiles('clickhouse/servers')
  try {
    return { done: await apply(store, files) }
  } catch (error) {
    const code = String((error as { code?: unknown } | undefined)?.code)
    if (!(error instanceof Error) || !NO_ACCESS_MANAGEMENT.includes(code)) throw error
    return { done: [], skipped: { names: files.map(({ name }) => name), why: error.message.trim() } }
  }
}

/** What was skipped, why, and what to do, as a line; undefined when nothing was. */
export function skippedLine({ skipped }: AccessMigration): string | undefined {
  if (!skipped) return undefined
  const files = skipped.names.map((name) => `schemas/clickhouse/${name}`).join(', ')
  return `analysts' role and row policies were skipped: ${skipped.why} Run ${files} as a user that may manage access`
}

async function apply(store: ClickHouseStore, files: readonly MigrationFile[]): Promise<string[]> {
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
  const done: string[] = []
  for (const { name, sql } of files) {
    const sha256 = createHash('sha256').update(sql).digest('hex')
    const before = applied.get(name)
    if (before !== undefined && before !== sha256)
      throw new Error(`Migration ${name} was changed after it ran: add a new one instead`)
    if (before !== undefined) continue
    for (const statement of statementsOf(sql)) await store.command(statement)
    await store.command('INSERT INTO migrations SELECT {name:String}, {sha256:String}', { name, sha256 })
    done.push(name)
  }
  return done
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
