import { createHash } from 'node:crypto'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { migrationFiles } from '../../schemas/files.ts'

/**
 * Brings ClickHouse up to date. It has no transactions: each statement is made repeatable (IF NOT EXISTS), and a
 * migration's row is written after its last statement, so a crash half-way repeats the migration.
 */
export async function migrateClickHouse(store: ClickHouseStore): Promise<string[]> {
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
  for (const { name, sql } of migrationFiles('clickhouse')) {
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
