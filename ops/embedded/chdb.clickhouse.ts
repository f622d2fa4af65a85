import { mkdirSync, mkdtempSync, readdirSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ClickHouseClient, createClient } from '@clickhouse/client'
import type { ClickHouseParams, ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { Problem } from '../../schemas/http/problem.ts'

/**
 * No read may hold a connection longer, or take the process's memory; aborting does not stop a query in chDB, these
 * settings do. They stand in the text, because settings of one call would stick to the connection.
 */
const READ_LIMITS =
  'max_execution_time = 30, max_memory_usage = 1500000000, max_bytes_before_external_group_by = 500000000'

/**
 * ClickHouse in this process. chDB runs one query at a time per connection and binds one data folder per process, so
 * `connections` connections on the folder are lent to one statement each; more statements wait their turn, and beyond
 * `mostWaiting` they are refused. May be opened several times in a process, so that some work never waits for other.
 */
export async function openChdb(
  folder: string,
  connections: number,
  mostWaiting = Number.POSITIVE_INFINITY,
): Promise<ClickHouseStore> {
  const { createChdbConnection } = await import('chdb/connection').catch((cause: unknown) => {
    throw new Error(
      'The embedded ClickHouse (chdb) is not installed. Run "npm ci" without --omit=optional, or set CLICKHOUSE_URL.',
      { cause },
    )
  })
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const scratch = await scratchFolder(`${folder}-scratch`)
  // The hook that lets chDB stand in for the HTTP connection is experimental, so its option is not typed.
  const open = () => createClient({ connection: createChdbConnection({ path: folder }) } as object)
  const lender = createLender(open, connections, mostWaiting)
  let files = 0
  return {
    query: (sql, params) => lender.lend((client) => rows(client, `${sql} SETTINGS ${READ_LIMITS}`, params)),
    command: (sql, params) => lender.lend((client) => execute(client, sql, params)),
    insertAvro: async (file, statements, params) => {
      const path = join(scratch, `${++files}.avro`)
      await writeFile(path, file)
      try {
        await lender.lend(async (client) => {
          for (const statement of statements) await execute(client, statement(`file('${path}', 'Avro')`), params)
        })
      } finally {
        await rm(path, { force: true })
      }
    },
    ping: () => lender.lend((client) => execute(client, 'SELECT 1')),
    close: () => lender.close(),
  }
}

async function rows<Row>(client: ClickHouseClient, query: string, params?: ClickHouseParams): Promise<Row[]> {
  const result = await client.query({ query, format: 'JSONEachRow', ...(params ? { query_params: params } : {}) })
  return result.json<Row>()
}

async function execute(client: ClickHouseClient, query: string, params?: ClickHouseParams): Promise<void> {
  await client.command({ query, ...(params ? { query_params: params } : {}) })
}

type Lender = { lend<T>(work: (client: ClickHouseClient) => Promise<T>): Promise<T>; close(): Promise<void> }

/** A folder of this opening; what earlier processes left beside it is removed. */
async function scratchFolder(parent: string): Promise<string> {
  mkdirSync(parent, { recursive: true, mode: 0o700 })
  const ours = `${process.pid}-`
  for (const name of readdirSync(parent)) {
    if (!name.startsWith(ours)) await rm(join(parent, name), { recursive: true, force: true })
  }
  return mkdtempSync(join(parent, ours))
}

/**
 * Lends each client to one piece of work at a time, first come first served. A client whose statement failed is not lent
 * again: chDB puts the rows that a failed statement had made before the next answer of the same connection (seen with
 * throwIf and with max_execution_time), so they could reach another tenant.
 */
function createLender(open: () => ClickHouseClient, connections: number, mostWaiting: number): Lender {
  const free = Array.from({ length: connections }, open)
  const waiting: ((client: ClickHouseClient) => void)[] = []
  const giveBack = (client: ClickHouseClient) => {
    const next = waiting.shift()
    if (next) next(client)
    else free.push(client)
  }
  const lend: Lender['lend'] = async (work) => {
    if (free.length === 0 && waiting.length >= mostWaiting) {
      throw new Problem('overloaded', 'Too many queries wait: try again', { retryAfterSeconds: 1 })
    }
    const client = free.pop() ?? (await new Promise<ClickHouseClient>((lent) => waiting.push(lent)))
    try {
      const result = await work(client)
      giveBack(client)
      return result
    } catch (error) {
      // The new one first: the last connection on a folder would close the engine with it.
      giveBack(open())
      await client.close().catch(() => undefined)
      throw error
    }
  }
  const keep = (closing: ClickHouseClient[]) =>
    new Promise<void>((kept) => {
      void lend((client) => {
        closing.push(client)
        kept()
        return new Promise<never>(() => undefined)
      })
    })
  return {
    lend,
    close: async () => {
      // A connection closed under a running query aborts the engine for the whole process: wait for every one.
      const closing: ClickHouseClient[] = []
      await Promise.all(Array.from({ length: connections }, () => keep(closing)))
      for (const client of closing) await client.close()
    },
  }
}
