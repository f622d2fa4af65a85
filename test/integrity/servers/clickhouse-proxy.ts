import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'

/** Stands before ClickHouse's HTTP interface and passes everything on, but for what a test wants of statements that write. */
export type ClickHouseProxy = {
  url: string
  /** The next insert into the table comes no further than here, until it is released. */
  holdNext(table: string): HeldInsert
  /** Statements that write are refused, as by a server whose user or disk is read-only. */
  beReadOnly(readOnly: boolean): void
  /** Inserts are passed on so much later. */
  delayInserts(delayMs: number): void
  /** Statements that were refused, and inserts that were delayed. */
  counts(): { refused: number; delayed: number }
  close(): Promise<void>
}

export type HeldInsert = {
  /** Whoever sent it has sent all of it and waits for the answer. */
  isHeld(): boolean
  release(): void
}

/** As ClickHouse says it, under status 500. */
const READ_ONLY = 'Code: 164. DB::Exception: default: Cannot execute query in readonly mode. (READONLY)\n'
/** Where a statement without rows of its own begins to be too long to be one. */
const TEXT_BYTES = 4_096
const WRITES = /^\s*(?:INSERT|ALTER|CREATE|DROP|RENAME|TRUNCATE|OPTIMIZE)\b/i

export async function startClickHouseProxy(clickhouseUrl: string): Promise<ClickHouseProxy> {
  let readOnly = false
  let delayMs = 0
  let hold: { table: RegExp; held: () => Promise<void> } | undefined
  const counts = { refused: 0, delayed: 0 }

  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const body = await buffer(incoming)
    const statement = statementOf(incoming, body)
    if (readOnly && WRITES.test(statement)) {
      counts.refused += 1
      outgoing.writeHead(500, { 'Content-Type': 'text/plain', 'X-ClickHouse-Exception-Code': '164' }).end(READ_ONLY)
      return
    }
    if (hold?.table.test(statement)) {
      const { held } = hold
      hold = undefined
      await held()
    }
    if (delayMs > 0 && /^\s*INSERT\b/i.test(statement)) {
      counts.delayed += 1
      await sleep(delayMs)
    }
    await passOn(new URL(incoming.url ?? '/', clickhouseUrl), incoming, body, outgoing)
  }
  const server = createServer((incoming, outgoing) => {
    // A server that is away ends the connection.
    serve(incoming, outgoing).catch(() => outgoing.destroy())
  })
  server.keepAliveTimeout = 10_000
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const address = server.address()
  if (!address || typeof address === 'string') throw new Error('The proxy has no port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    holdNext: (table) => {
      let isHeld = false
      let release = () => {}
      const released = new Promise<void>((done) => {
        release = done
      })
      const held = () => {
        isHeld = true
        return released
      }
      hold = { table: new RegExp(`^\\s*INSERT INTO ${table}\\b`), held }
      return { isHeld: () => isHeld, release: () => release() }
    },
    beReadOnly: (is) => {
      readOnly = is
    },
    delayInserts: (ms) => {
      delayMs = ms
    },
    counts: () => ({ ...counts }),
    close: () =>
      new Promise((closed) => {
        server.close(() => closed())
        server.closeAllConnections()
      }),
  }
}

/** A statement stands in the URL, with its rows or parameters as the body, or is the body. */
function statementOf({ url }: IncomingMessage, body: Buffer): string {
  const inUrl = new URL(url ?? '/', 'http://proxy').searchParams.get('query')
  return inUrl ?? body.subarray(0, TEXT_BYTES).toString()
}

/** On a connection of its own: one that is kept may be closed by the server as it is taken up again. */
function passOn(target: URL, { method, headers }: IncomingMessage, body: Buffer, outgoing: ServerResponse) {
  return new Promise<void>((passed, fail) => {
    const { 'transfer-encoding': _chunked, connection: _connection, ...kept } = headers
    const options = { method, agent: false, headers: { ...kept, 'content-length': body.length } } as const
    const asked = request(target, options, (answer) => {
      const { connection: _theirs, 'keep-alive': _kept, ...answered } = answer.headers
      outgoing.writeHead(answer.statusCode ?? 502, answered)
      // An answer that breaks off must not look whole.
      answer.on('error', fail)
      answer.on('end', passed)
      answer.pipe(outgoing)
    })
    asked.on('error', fail)
    outgoing.on('close', () => asked.destroy())
    asked.end(body)
  })
}
