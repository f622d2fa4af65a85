import { Redis } from 'ioredis'
import pg from 'pg'
import type { Server } from '../../../ops/stack/server.ts'

/** Faults that a test makes happen to the servers, beside killing, freezing and starting them again (ops/stack). */

/** Kills the server, does the work while it is away, starts it again. Answers how long the start took, in ms. */
export async function awayDuring(server: Server, work: () => Promise<void>): Promise<number> {
  await server.kill()
  await work()
  const beganMs = performance.now()
  await server.restart()
  return Math.round(performance.now() - beganMs)
}

/** Everything that Redis holds is gone, as after a failover to an empty node. */
export async function flushRedis(url: string): Promise<void> {
  const client = new Redis(url)
  client.on('error', () => undefined)
  await client.flushall()
  client.disconnect()
}

export type TableLock = {
  /** The statements that wait for it. */
  waiting(): Promise<string[]>
  release(): Promise<void>
}

/** Holds a table, so that whoever writes to it stands still in the middle of its transaction; readers go on. */
export async function lockTable(databaseUrl: string, table: string): Promise<TableLock> {
  const client = new pg.Client({ connectionString: databaseUrl })
  // Its server may be killed under it.
  client.on('error', () => undefined)
  await client.connect()
  await client.query(`BEGIN; LOCK TABLE ${table} IN SHARE MODE`)
  return {
    waiting: async () => {
      // A transaction sees the activity that it saw first, unless told to look again.
      await client.query('SELECT pg_stat_clear_snapshot()')
      const { rows } = await client.query<{ query: string }>(
        "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
      )
      return rows.map(({ query }) => query)
    },
    release: () => client.end().catch(() => undefined),
  }
}
