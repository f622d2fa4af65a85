import type { Pool, PoolClient } from 'pg'

/** Of all processes on a database one has it, as long as it lives. */
export type Turn = {
  /** Whether this process has it now. */
  take(): Promise<boolean>
  leave(): void
}

/** Migrations, data folders and the topic of the log have those before it. */
const RECONCILE_LOCK = 7_215_510
/** A server that vanished without a word never answers: a pass, and whoever stops the process, would wait for ever. */
const ANSWERS_WITHIN_MS = 5_000

/**
 * An advisory lock, held by a connection of its own: the kernel closes that of a killed process, so the lock never
 * outlives it. A process that slept may think for one pass that it still has the lock: corrections compare and set.
 */
export function createTurn(pool: Pool, answersWithinMs = ANSWERS_WITHIN_MS): Turn {
  let holder: PoolClient | undefined
  const drop = (client: PoolClient) => {
    if (holder !== client) return
    holder = undefined
    // Not given back to the pool: whoever used it next would have the lock.
    client.release(true)
  }
  const isAlive = async (client: PoolClient): Promise<boolean> => {
    try {
      await within(client.query('SELECT 1'), answersWithinMs)
      return holder === client
    } catch {
      drop(client)
      return false
    }
  }
  return {
    take: async () => {
      if (holder) return isAlive(holder)
      const client = await pool.connect()
      try {
        if (!(await within(tryLock(client), answersWithinMs))) {
          client.release()
          return false
        }
      } catch (error) {
        // Not given back to the pool: it may have the lock all the same.
        client.release(true)
        throw error
      }
      holder = client
      client.once('end', () => drop(client))
      return true
    },
    leave: () => {
      if (holder) drop(holder)
    },
  }
}

async function tryLock(client: PoolClient): Promise<boolean> {
  const { rows } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1) AS taken', [RECONCILE_LOCK])
  return rows[0]?.taken === true
}

async function within<T>(answer: Promise<T>, mostMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Postgres did not answer within ${mostMs} ms`)), mostMs)
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}
