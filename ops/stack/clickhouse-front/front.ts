import { randomUUID } from 'node:crypto'
import { createWriteStream, mkdirSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createAnswer, type Summary } from './answer.ts'
import type { Engine, Job } from './engine.clickhouse.ts'
import { serverError } from './errors.ts'
import { bodyOf, collect, formFields, type RequestParts, readRequest } from './request.ts'
import { bindable, insertFromFile, readStatement, type Statement } from './statement.ts'

/** ClickHouse's own limit of a URL (http_max_uri_size), and some room for headers. */
const MAX_HEADER_BYTES = 1024 * 1024 + 16 * 1024
/** As much of a body as can hold a statement before its rows: ClickHouse's max_query_size. */
const HEAD_BYTES = 256 * 1024
/** A statement with literal VALUES, or a form with parameters. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024
/** ClickHouse closes idle connections after this long. */
const KEEP_ALIVE_MS = 10_000

/**
 * Formats whose answer is the answers of its blocks one after the other, so that it can leave block by block. chDB
 * writes heads and feet around every block of the others.
 */
const STREAMED = new Set([
  'JSONEachRow',
  'JSONStringsEachRow',
  'JSONCompactEachRow',
  'JSONCompactStringsEachRow',
  'TabSeparated',
  'TabSeparatedRaw',
  'TSV',
  'TSVRaw',
  'CSV',
  'LineAsString',
  'RowBinary',
  'Native',
])

type Front = { engine: Engine; scratch: string }

/** The HTTP interface of ClickHouse over an engine; rows of inserts wait in `scratch` while they arrive. */
export function createFront(engine: Engine, scratch: string): Server {
  rmSync(scratch, { recursive: true, force: true })
  mkdirSync(scratch, { recursive: true, mode: 0o700 })
  const server = createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: KEEP_ALIVE_MS },
    (request, response) => {
      response.setHeader('X-ClickHouse-Server-Display-Name', 'tallyline-front')
      response.setHeader('X-ClickHouse-Timezone', 'UTC')
      const path = new URL(request.url ?? '/', 'http://front').pathname
      if (path === '/ping' || path === '/replicas_status') response.end('Ok.\n')
      else if (request.method === 'GET' && request.url === '/') response.end('Ok.\n')
      else if (path === '/') void serve({ engine, scratch }, request, response)
      else response.writeHead(404).end(`There is no handle ${path}\n`)
    },
  )
  // An insert may take longer to arrive than Node allows a request by default.
  server.requestTimeout = 0
  return server
}

async function serve(front: Front, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const answer = createAnswer(response, front.engine.version)
  let queryId: string = randomUUID()
  try {
    const contentType = request.headers['content-type'] ?? ''
    const isForm = contentType.startsWith('multipart/form-data')
    const body = bodyOf(request)
    const form = isForm ? formFields(await collect(body, MAX_TEXT_BYTES), contentType) : new URLSearchParams()
    const parts = readRequest(request, form)
    queryId = parts.queryId ?? queryId
    const { statement, rows } = await readAll(parts.query, isForm ? undefined : body)
    if (parts.readonly && !['select', 'read', 'session'].includes(statement.kind))
      throw serverError(164, 'READONLY', 'Cannot execute query in readonly mode')
    if (statement.kind === 'insert') await insert(front, parts, statement, rows, answer, queryId)
    else await run(front, parts, statement, answer, queryId)
  } catch (error) {
    // A body that nobody reads any more would keep the connection from being used again.
    request.unpipe()
    request.resume()
    await answer.fail(error, queryId)
  }
}

/** The statement, and the rows behind it if it is an insert. A query in the URL goes before the body's text. */
async function readAll(
  query: string,
  body: Readable | undefined,
): Promise<{ statement: Statement; rows: AsyncIterable<Buffer> }> {
  const source: AsyncIterator<Buffer> | undefined = body?.[Symbol.asyncIterator]()
  const inUrl = Buffer.from(query)
  const insert = readHead(inUrl)
  if (insert) return { statement: insert, rows: rowsOf(inUrl.subarray(insert.rowsAt), source) }
  const parts: Buffer[] = query === '' ? [] : [Buffer.from(`${query}\n`)]
  let bytes = 0
  let looked = query !== ''
  for (let next = await source?.next(); next && !next.done; next = await source?.next()) {
    parts.push(next.value)
    bytes += next.value.length
    if (bytes > MAX_TEXT_BYTES) throw serverError(62, 'SYNTAX_ERROR', 'Max query size exceeded')
    if (looked || bytes < HEAD_BYTES) continue
    // Rows may follow in any amount: see whether they do before more is kept.
    looked = true
    const head = Buffer.concat(parts)
    const statement = readHead(head.subarray(0, HEAD_BYTES))
    if (statement) return { statement, rows: rowsOf(head.subarray(statement.rowsAt), source) }
  }
  const text = Buffer.concat(parts)
  if (latin1(text).trim() === '') throw serverError(62, 'SYNTAX_ERROR', 'Syntax error: Empty query')
  const statement = readStatement(latin1(text))
  return { statement, rows: rowsOf(text.subarray(statement.rowsAt), undefined) }
}

function readHead(head: Buffer): Statement | undefined {
  if (!/^\s*INSERT\b/i.test(latin1(head.subarray(0, 100)))) return undefined
  const statement = readStatement(latin1(head))
  return statement.kind === 'insert' ? statement : undefined
}

async function* rowsOf(first: Buffer, rest: AsyncIterator<Buffer> | undefined): AsyncIterable<Buffer> {
  if (first.length > 0) yield first
  for (let next = await rest?.next(); next && !next.done; next = await rest?.next()) yield next.value
}

type Answering = ReturnType<typeof createAnswer>

async function insert(
  { engine, scratch }: Front,
  parts: RequestParts,
  statement: Statement,
  rows: AsyncIterable<Buffer>,
  answer: Answering,
  queryId: string,
): Promise<void> {
  const path = join(scratch, `${randomUUID()}.rows`)
  try {
    await pipeline(rows, createWriteStream(path, { mode: 0o600 }))
    const { rowsRead, bytesRead, elapsedS } = await engine.run(jobOf(parts, statement, insertFromFile(statement, path)))
    const summary = { readRows: rowsRead, readBytes: bytesRead, writtenRows: rowsRead, elapsedS }
    answer.begin({ queryId, format: 'TabSeparated', compress: undefined, summary })
    await answer.end()
  } finally {
    await rm(path, { force: true })
  }
}

async function run(
  { engine }: Front,
  parts: RequestParts,
  statement: Statement,
  answer: Answering,
  queryId: string,
): Promise<void> {
  const job = jobOf(parts, statement, statement.text)
  const format = statement.format ?? job.format
  const head = { queryId, format, compress: parts.compress, summary: EMPTY }
  if (statement.kind !== 'select' || !STREAMED.has(format)) {
    const { bytes, rowsRead, bytesRead, elapsedS } = await engine.run(job)
    answer.begin({ ...head, summary: { readRows: rowsRead, readBytes: bytesRead, writtenRows: 0, elapsedS } })
    await answer.write(bytes)
    await answer.end()
    return
  }
  const stream = engine.stream(job)
  const chunks = parts.waitForEnd ? kept(await all(stream)) : stream
  let chunk = await chunks.next()
  answer.begin(head)
  // A client that has gone ends the stream, and with it the engine's work for it.
  while (!chunk.done && (await answer.write(chunk.value))) chunk = await chunks.next()
  await chunks.return()
  await answer.end()
}

async function all(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const parts: Uint8Array[] = []
  for await (const chunk of chunks) parts.push(chunk)
  return parts
}

async function* kept(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void> {
  yield* chunks
}

const EMPTY: Summary = { readRows: 0, readBytes: 0, writtenRows: 0, elapsedS: 0 }

function jobOf(parts: RequestParts, statement: Statement, latin1Sql: string): Job {
  const sql = Buffer.from(latin1Sql, 'latin1').toString('utf8')
  const params = Object.fromEntries(
    Object.entries(parts.params).map(([name, wire]) => [name, bindable(wire, statement.parameterTypes.get(name))]),
  )
  const { settings, database } = parts
  return {
    sql,
    format: parts.format ?? 'TabSeparated',
    params,
    settings,
    database,
    spoils: statement.kind === 'session',
  }
}

function latin1(bytes: Buffer): string {
  return bytes.toString('latin1')
}
