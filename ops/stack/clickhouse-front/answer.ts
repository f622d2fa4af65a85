import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { Transform } from 'node:stream'
import { createBrotliCompress, createDeflate, createGzip } from 'node:zlib'
import { httpStatus, readError } from './errors.ts'
import type { RequestParts } from './request.ts'

/** Counters of the summary header; ClickHouse writes them as text. */
export type Summary = { readRows: number; readBytes: number; writtenRows: number; elapsedS: number }

export type Head = { queryId: string; format: string; compress: RequestParts['compress']; summary: Summary }

const CONTENT_TYPES: readonly (readonly [RegExp, string])[] = [
  [/^(?:JSONEachRow|JSONCompactEachRow|JSONStringsEachRow|JSONCompactStringsEachRow)/, 'application/x-ndjson'],
  [/^JSON/, 'application/json; charset=UTF-8'],
  [/^(?:TabSeparated|TSV)/, 'text/tab-separated-values; charset=UTF-8'],
  [/^CSV/, 'text/csv; charset=UTF-8; header=absent'],
  [/^(?:RowBinary|Native|Avro|Parquet|Arrow|ORC)/, 'application/octet-stream'],
]

/** Writes one answer: the head with the first bytes, so an error before them still has a status of its own. */
export function createAnswer(response: ServerResponse, version: string) {
  let body: ServerResponse | Transform = response
  const tag = randomBytes(8).toString('hex')

  const begin = ({ queryId, format, compress, summary }: Head) => {
    response.statusCode = 200
    response.setHeader('Content-Type', CONTENT_TYPES.find(([name]) => name.test(format))?.[1] ?? 'text/plain')
    response.setHeader('X-ClickHouse-Format', format)
    response.setHeader('X-ClickHouse-Exception-Tag', tag)
    response.setHeader('X-ClickHouse-Query-Id', queryId)
    response.setHeader('X-ClickHouse-Summary', summaryJson(summary))
    if (!compress) return
    response.setHeader('Content-Encoding', compress)
    const coder = { gzip: createGzip, deflate: createDeflate, br: createBrotliCompress }[compress]()
    coder.pipe(response)
    body = coder
  }
  /** Resolves when more can be written; false when the client has gone. */
  const write = async (bytes: Uint8Array): Promise<boolean> => {
    if (response.destroyed) return false
    if (body.write(bytes)) return true
    await new Promise<void>((resume) => {
      const go = () => {
        body.off('drain', go)
        response.off('close', go)
        resume()
      }
      body.once('drain', go)
      response.once('close', go)
    })
    return !response.destroyed
  }
  const end = () =>
    new Promise<void>((ended) => {
      response.once('close', ended)
      response.once('finish', ended)
      body.end()
    })
  /** Before the head: an answer with a status. After it: the marked block of ClickHouse 25.11, then a broken end. */
  const fail = async (error: unknown, queryId: string): Promise<void> => {
    const { code, name, message } = readError(error)
    const text = `${message} (version ${version})\n`
    if (!response.headersSent) {
      response.removeHeader('Content-Encoding')
      response.statusCode = httpStatus(name)
      response.setHeader('Content-Type', 'text/plain; charset=UTF-8')
      response.setHeader('X-ClickHouse-Query-Id', queryId)
      response.setHeader('X-ClickHouse-Exception-Code', String(code))
      response.end(text)
      return
    }
    const block = `\r\n__exception__\r\n${tag}\r\n${text}${Buffer.byteLength(text)} ${tag}\r\n__exception__\r\n`
    body.write(block)
    if (body !== response) await new Promise<void>((flushed) => (body as ReturnType<typeof createGzip>).flush(flushed))
    // Without the last chunk, no client takes the answer for whole.
    setTimeout(() => response.socket?.destroySoon(), 10)
  }
  return { begin, write, end, fail }
}

function summaryJson({ readRows, readBytes, writtenRows, elapsedS }: Summary): string {
  return JSON.stringify({
    read_rows: String(readRows),
    read_bytes: String(readBytes),
    written_rows: String(writtenRows),
    written_bytes: '0',
    total_rows_to_read: '0',
    result_rows: '0',
    result_bytes: '0',
    elapsed_ns: String(Math.round(elapsedS * 1e9)),
  })
}
