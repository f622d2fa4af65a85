import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPool } from '../../../ops/access/pool.postgres.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/**
 * A Postgres that was restarted while a billing run was in a transaction ended the invoicer: pg tells a broken
 * connection that is in use as an event too, and without a listener that is an uncaught exception.
 */
test('a connection that is cut off in a transaction fails the transaction, not the process', async () => {
  const pool = openPool(database.ownerUrl, 1, () => undefined)
  const tenantId = await database.createTenant('cut-off')
  const uncaught: unknown[] = []
  const keep = (error: unknown) => uncaught.push(error)
  process.on('uncaughtException', keep)
  const cutOff = withTenant(pool, tenantId, async (tx) => {
    const { rows } = await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    await Promise.all([tx.query('SELECT pg_sleep(60)'), terminate(rows[0]!.pid)])
  })
  await expect(cutOff).rejects.toThrow('terminat')
  const { rows } = await withTenant(pool, tenantId, (tx) => tx.query<{ one: number }>('SELECT 1 AS one'))
  expect(rows).toEqual([{ one: 1 }])
  await pool.end()
  process.off('uncaughtException', keep)
  expect(uncaught).toEqual([])
})

async function terminate(pid: number): Promise<void> {
  const owner = new pg.Client({ connectionString: database.ownerUrl })
  await owner.connect()
  await owner.query('SELECT pg_terminate_backend($1)', [pid])
  await owner.end()
}
