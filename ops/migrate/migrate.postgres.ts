import { createHash } from 'node:crypto'
import pg from 'pg'
import { migrationFiles } from '../../schemas/files.ts'

/** Any number: it only keeps two migrators of one database apart. */
const MIGRATION_LOCK = 7_215_501

/**
 * Brings a database up to date as its owner. Safe to run twice and at once: the lock orders migrators, the table
 * says what is done, and each migration commits together with its row. A changed old migration is refused.
 */
export async function migratePostgres(url: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK])
    await client.query(
      'CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())',
    )
    const { rows } = await client.query<{ name: string; sha256: string }>('SELECT name, sha256 FROM migrations')
    const applied = new Map(rows.map((row) => [row.name, row.sha256]))
    const done: string[] = []
    for (const { name, sql } of migrationFiles('postgres')) {
      const sha256 = createHash('sha256').update(sql).digest('hex')
      const before = applied.get(name)
      if (before !== undefined && before !== sha256)
        throw new Error(`Migration ${name} was changed after it ran: add a new one instead`)
      if (before !== undefined) continue
      await applyOne(client, name, sql, sha256)
      done.push(name)
    }
    return done
  } finally {
    await client.end()
  }
}

async function applyOne(client: pg.Client, name: string, sql: string, sha256: string): Promise<void> {
  try {
    await client.query('BEGIN')
    await client.query(sql)
    await client.query('INSERT INTO migrations (name, sha256) VALUES ($1, $2)', [name, sha256])
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw new Error(`Migration ${name} failed: ${(error as Error).message}`, { cause: error })
  }
}
