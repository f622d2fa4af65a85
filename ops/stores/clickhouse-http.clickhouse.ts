import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { type ClickHouseClient, ClickHouseLogLevel, createClient, parseError } from '@clickhouse/client'
import type { ClickHouseParams, ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { avroStructure } from './avro-structure.ts'

export type ClickHouseOptions = {
  /** Requests at a time; more wait here, not in the server. */
  connections?: number
  /** The server ends a read that takes longer. */
  readLimitSeconds?: number
  /** How long a statement that writes may take until we give it up. The server may still finish it. */
  writeTimeoutMs?: number
}

/** A read's answer may take this much longer than the server's own limit before we take the server for gone. */
const READ_GRACE_MS = 10_000
/** Below the shortest time after which ClickHouse closes an idle connection (3 s in old versions, 10 s since). */
const IDLE_SOCKET_MS = 2_500
/** Parameters travel in the URL up to this length, as with the client's reads; beyond it in a form. */
const MAX_URL_PARAMS = 4_096

/**
 * ClickHouse over HTTP. Every call stands for itself: while the server is away each fails, none hangs, and the next
 * one after it is back succeeds. Errors of the server carry its code, errors of the connection Node's.
 */
export function openClickHouse(url: string, options: ClickHouseOptions = {}): ClickHouseStore {
  const { connections = 10, readLimitSeconds = 30, writeTimeoutMs = 120_000 } = options
  const readTimeoutMs = readLimitSeconds * 1_000 + READ_GRACE_MS
  const client = createClient({
    url,
    application: 'tallyline',
    max_open_connections: connections,
    // Of a silent socket; the signals below end what trickles.
    request_timeout: Math.max(readTimeoutMs, writeTimeoutMs),
    keep_alive: { enabled: true, idle_socket_ttl: IDLE_SOCKET_MS, eagerly_destroy_stale_sockets: true },
    // Nearby servers are faster than gzip.
    compression: { request: false, response: false },
    use_multipart_params_auto: true,
    // It would write to the console.
    log: { level: ClickHouseLogLevel.OFF },
  })
  return {
    query: (sql, params) =>
      within(readTimeoutMs, async (abort_signal) => {
        const query = `${sql} SETTINGS max_execution_time = ${readLimitSeconds}`
        const result = await client.query({
          query,
          format: 'JSONEachRow',
          abort_signal,
          // Otherwise an error after the first rows comes as text behind them, under status 200.
          clickhouse_settings: { wait_end_of_query: 1 },
          ...bound(params),
        })
        return result.json()
      }),
    command: (sql, params) => within(writeTimeoutMs, (signal) => command(client, sql, params, signal)),
    insertAvro: async (file, statements, params) => {
      // Where the head cannot be read, any structure does: the server refuses the file as it should.
      const structure = (avroStructure(file) ?? 'unreadable String').replaceAll('\\', '\\\\').replaceAll("'", "\\'")
      const source = `input('${structure}')`
      for (const statement of statements) {
        const sql = statement(source)
        await within(writeTimeoutMs, (signal) =>
          sql.includes(source)
            ? send(client, `${sql} FORMAT Avro`, file, signal, bound(params))
            : command(client, sql, params, signal),
        )
      }
    },
    ping: () =>
      within(READ_GRACE_MS, async (abort_signal) => {
        const answer = await client.ping({ select: true, abort_signal })
        if (!answer.success) throw answer.error
      }),
    close: () => client.close(),
  }
}

/** Gives up after a time, whatever the connection does. */
async function within<T>(timeoutMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => {
      fail(new Error(`ClickHouse did not answer within ${timeoutMs} ms`))
      controller.abort()
    }, timeoutMs)
  })
  try {
    return await Promise.race([work(controller.signal), late])
  } finally {
    clearTimeout(timer)
  }
}

function bound(params: ClickHouseParams | undefined) {
  return params ? { query_params: params } : {}
}

async function command(
  client: ClickHouseClient,
  query: string,
  params: ClickHouseParams | undefined,
  signal: AbortSignal,
): Promise<void> {
  const fields = Object.entries(params ?? {}).map(([name, value]) => [`param_${name}`, wire(value)] as const)
  const length = fields.reduce((sum, [name, value]) => sum + name.length + encodeURIComponent(value).length + 2, 0)
  if (length <= MAX_URL_PARAMS) {
    await client.command({ query, abort_signal: signal, ...bound(params) })
    return
  }
  // The client puts only the parameters of reads into a form, and a server's URL has a limit.
  const boundary = `tallyline-${randomUUID()}`
  const parts = fields.map(
    ([name, value]) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  )
  const form = Buffer.from(`${parts.join('')}--${boundary}--\r\n`)
  await send(client, query, form, signal, {
    http_headers: { 'Content-Type': `multipart/form-data; boundary=${boundary}` },
  })
}

/** A parameter as HTTP carries it: escaped like a field of TSV, strings in arrays quoted. */
function wire(value: ClickHouseParams[string]): string {
  if (typeof value === 'object')
    return `[${value.map((one) => (typeof one === 'string' ? `'${wire(one)}'` : wire(one))).join(',')}]`
  return String(value).replace(/[\\'\t\n\r]/g, (found) => ESCAPED[found] ?? found)
}

const ESCAPED: Record<string, string> = { '\\': '\\\\', "'": "\\'", '\t': '\\t', '\n': '\\n', '\r': '\\r' }

/** A statement with a body. Once rows flow the status is sent, so a late error is told in the answer's text. */
async function send(
  client: ClickHouseClient,
  query: string,
  body: Buffer,
  signal: AbortSignal,
  extra: { query_params?: ClickHouseParams; http_headers?: Record<string, string> },
): Promise<void> {
  const values = Readable.from([body], { objectMode: false })
  const { stream } = await client.exec({ query, values, abort_signal: signal, ...extra })
  const answer = await text(stream)
  if (answer.includes('DB::Exception')) throw parseError(answer)
}
