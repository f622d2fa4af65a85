import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'
import { openPool } from '../../ops/access/pool.postgres.ts'

export type TestDatabase = {
  /** Connection string of the owner of this file's own database. */
  ownerUrl: string
  /** As the product connects: role tallyline_app, row-level security forced. */
  pool: pg.Pool
  /** A tenant of its own. */
  createTenant(slug: string): Promise<number>
  drop(): Promise<void>
}

/** A database of its own, cloned from the migrated template. Call `drop` in afterAll. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const serverUrl = inject('postgresUrl')
  const name = `tallyline_test_${randomBytes(6).toString('hex')}`
  const asOwner = async (sql: string) => {
    const client = new pg.Client({ connectionString: serverUrl })
    await client.connect()
    await client.query(sql)
    await client.end()
  }
  await asOwner(`CREATE DATABASE ${name} TEMPLATE tallyline_test_template`)
  const ownerUrl = serverUrl.replace(/\/postgres$/, `/${name}`)
  const pool = openPool(ownerUrl, 8, () => undefined)
  return {
    ownerUrl,
    pool,
    createTenant: async (slug) => {
      const { rows } = await pool.query<{ id: number }>('SELECT put_tenant($1) AS id', [slug])
      return rows[0]!.id
    },
    drop: async () => {
      await pool.end()
      await asOwner(`DROP DATABASE ${name} WITH (FORCE)`)
    },
  }
}
