import type { ChdbResult, Session } from 'chdb'
import { serverError } from './errors.ts'

/** A statement as the engine runs it. */
export type Job = {
  sql: string
  /** The format of an answer whose text has no FORMAT clause. */
  format: string
  params: Record<string, string | null>
  settings: readonly (readonly [name: string, value: string])[]
  database: string | undefined
  /** The statement changes its connection (SET, USE), which nobody may see afterwards. */
  spoils: boolean
}

export type Answer = { bytes: Uint8Array; rowsRead: number; bytesRead: number; elapsedS: number }

export type Engine = {
  version: string
  /** The whole answer at once. */
  run(job: Job): Promise<Answer>
  /** The answer in pieces as the engine makes them. The connection is taken until the last one or `return`. */
  stream(job: Job): AsyncGenerator<Uint8Array, void>
  /** Waits for what runs, then lets go of the data folder. */
  close(): Promise<void>
}

/** Statements that wait for a connection; beyond it the server refuses, as ClickHouse does. */
const MAX_WAITING = 200

type Slot = { session: Session }

type Pool = { take(): Promise<Slot>; give(slot: Slot): void; replace(slot: Slot): void; close(): Promise<void> }

/** `connections` connections on one data folder; each runs one statement at a time. */
export async function openEngine(folder: string, connections: number): Promise<Engine> {
  const { Session: ChdbSession } = await import('chdb')
  const open = () => {
    const session = new ChdbSession(folder)
    // chDB is ClickHouse's local mode, where a lone expression is a query; a server calls that a syntax error.
    session.query('SET implicit_select = 0')
    return session
  }
  const slots = Array.from({ length: connections }, (): Slot => ({ session: open() }))
  const version = slots[0]?.session.query('SELECT version()', 'TSV').trim() ?? ''
  const pool = createPool(slots, open)
  return {
    version,
    run: async (job) => {
      const slot = await pool.take()
      let failed = true
      try {
        await prepare(slot.session, job)
        const answer = await answerOf(slot.session, job)
        failed = false
        return answer
      } finally {
        await settle(pool, slot, job, failed)
      }
    },
    stream: async function* (job) {
      const slot = await pool.take()
      let failed = false
      try {
        await prepare(slot.session, job)
        const chunks = slot.session.queryStreamBind(job.sql, job.params, { format: job.format })
        for await (const chunk of chunks) yield chunk.raw()
      } catch (error) {
        failed = true
        throw error
      } finally {
        await settle(pool, slot, job, failed)
      }
    },
    close: () => pool.close(),
  }
}

function createPool(slots: readonly Slot[], open: () => Session): Pool {
  const free = [...slots]
  const waiting: ((slot: Slot) => void)[] = []
  const take = (): Promise<Slot> => {
    const slot = free.pop()
    if (slot) return Promise.resolve(slot)
    if (waiting.length >= MAX_WAITING) {
      const message = `Too many simultaneous queries. Maximum: ${MAX_WAITING}`
      return Promise.reject(serverError(202, 'TOO_MANY_SIMULTANEOUS_QUERIES', message))
    }
    return new Promise((given) => waiting.push(given))
  }
  return {
    take,
    give: (slot) => {
      const next = waiting.shift()
      if (next) next(slot)
      else free.push(slot)
    },
    // Opening takes a millisecond; the old one goes when nothing runs on the folder any more.
    replace: (slot) => {
      const old = slot.session
      slot.session = open()
      old.close()
    },
    close: async () => {
      // A connection closed under a running statement aborts the engine for the whole process: wait for every one.
      await Promise.all(slots.map(() => take()))
      for (const slot of slots) slot.session.close()
    },
  }
}

/** Undoes what a job did to its connection and gives it back. One that cannot be cleaned is replaced. */
async function settle(pool: Pool, slot: Slot, job: Job, failed: boolean): Promise<void> {
  try {
    // What a failed statement had answered so far would begin the next answer of its connection (seen in chDB 3.4).
    if (failed || job.spoils) throw new Error('not to be cleaned')
    for (const [name] of job.settings) await slot.session.queryAsync(`SET ${name} = DEFAULT`)
    if (job.database !== undefined) await slot.session.queryAsync('USE default')
  } catch {
    pool.replace(slot)
  }
  pool.give(slot)
}

async function answerOf(session: Session, { sql, params, format }: Job): Promise<Answer> {
  const result: ChdbResult =
    Object.keys(params).length > 0
      ? await session.queryBindAsync(sql, params, { format })
      : await session.queryAsync(sql, { format })
  return { bytes: result.bytes(), rowsRead: result.rowsRead, bytesRead: result.bytesRead, elapsedS: result.elapsed }
}

/** The engine keeps settings on the connection, so they are set before a statement and taken back after it. */
async function prepare(session: Session, { settings, database }: Job): Promise<void> {
  if (database !== undefined) await session.queryAsync(`USE \`${database.replaceAll('`', '``')}\``)
  for (const [name, value] of settings) {
    if (!/^\w+$/.test(name)) throw serverError(115, 'UNKNOWN_SETTING', `Unknown setting '${name}'`)
    const text = value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")
    await session.queryAsync(`SET ${name} = '${text}'`)
  }
}
