import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTurn } from '../../../../ingest/quota/reconcile/turn.postgres.ts'
import { openPool } from '../../../../ops/access/pool.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'

/** A bound against hanging: other work may share the machine. */
const PATIENCE = { timeout: 60_000 }

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

test('of several processes one has it, until it leaves or dies', async () => {
  const pools = [1, 2, 3].map(() => openPool(database.ownerUrl, 2, () => undefined))
  const [one, two, three] = pools.map((pool) => createTurn(pool))
  expect(await one!.take()).toBe(true)
  expect(await two!.take()).toBe(false)
  // Again and again.
  expect(await one!.take()).toBe(true)
  expect(await two!.take()).toBe(false)
  one!.leave()
  await expect.poll(() => two!.take(), PATIENCE).toBe(true)
  expect(await one!.take()).toBe(false)

  // As if the second one's process were killed: the server sees its connections end.
  const owner = new pg.Client({ connectionString: database.ownerUrl })
  await owner.connect()
  await owner.query(`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'`)
  await owner.end()
  await expect.poll(() => three!.take(), PATIENCE).toBe(true)
  expect(await two!.take()).toBe(false)

  for (const turn of [one, two, three]) turn!.leave()
  // Nobody keeps a connection: otherwise these would never end.
  await Promise.all(pools.map((pool) => pool.end()))
})

/** A network that swallows what is sent: no answer and no end, for as long as the kernel resends. */
async function openLine(url: string) {
  const { hostname, port } = new URL(url)
  const ends: [Socket, Socket][] = []
  const line = createServer((near) => {
    const far = connect(Number(port || 5432), hostname)
    ends.push([near, far])
    near.pipe(far).pipe(near)
    for (const end of [near, far]) end.on('error', () => undefined)
  })
  line.listen(0, '127.0.0.1')
  await once(line, 'listening')
  const through = new URL(url)
  through.hostname = '127.0.0.1'
  through.port = String((line.address() as AddressInfo).port)
  return {
    url: through.href,
    goSilent: () => {
      for (const [near, far] of ends) near.unpipe(far)
    },
    close: () => {
      for (const end of ends.flat()) end.destroy()
      line.close()
    },
  }
}

test('who hears nothing from the server has it no longer, and does not wait', async () => {
  const line = await openLine(database.ownerUrl)
  const pool = openPool(line.url, 2, () => undefined)
  const turn = createTurn(pool, 2_000)
  expect(await turn.take()).toBe(true)
  line.goSilent()
  expect(await turn.take()).toBe(false)
  // By a new connection, when the server has seen the end of the first one.
  line.close()
  turn.leave()
  await pool.end()
  const other = openPool(database.ownerUrl, 2, () => undefined)
  const next = createTurn(other)
  await expect.poll(() => next.take(), PATIENCE).toBe(true)
  next.leave()
  await other.end()
})

test('a lock that is asked for without an answer is not waited for either, nor kept', async () => {
  const line = await openLine(database.ownerUrl)
  const pool = openPool(line.url, 2, () => undefined)
  await pool.query('SELECT 1')
  line.goSilent()
  await expect(createTurn(pool, 100).take()).rejects.toThrow('Postgres did not answer within 100 ms')
  expect(pool.totalCount).toBe(0)
  line.close()
  await pool.end()
})
