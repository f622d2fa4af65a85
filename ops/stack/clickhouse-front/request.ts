import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import { serverError } from './errors.ts'

/** What a request says outside its statement. */
export type RequestParts = {
  method: string
  query: string
  params: Record<string, string>
  settings: [name: string, value: string][]
  database: string | undefined
  queryId: string | undefined
  format: string | undefined
  readonly: boolean
  /** Answer only when all is done, so that every error has a status. */
  waitForEnd: boolean
  /** The coding of the answer, if it shall have one. */
  compress: 'gzip' | 'deflate' | 'br' | undefined
}

/**
 * Names that are no settings of the engine: they belong to HTTP, or name a user. There are no users here: whoever
 * reaches 127.0.0.1 may do everything, so names, passwords and roles are taken and ignored.
 */
const NOT_SETTINGS = new RegExp(
  `^(?:${[
    'query|query_id|database|default_format|param_.*',
    'user|password|role|quota_key|readonly',
    'stacktrace|buffer_size|wait_end_of_query|enable_http_compression|http_.*',
    'send_progress_in_http_headers|cancel_http_readonly_queries_on_client_close|add_http_cors_header',
  ].join('|')})$`,
)

export function readRequest(request: IncomingMessage, form: URLSearchParams): RequestParts {
  const url = new URL(request.url ?? '/', 'http://front')
  const fields = [...url.searchParams, ...form]
  const get = (name: string) => fields.find(([key]) => key === name)?.[1]
  const header = (name: string) => request.headers[name]?.toString()
  const method = request.method ?? 'GET'
  for (const name of ['session_id', 'compress', 'decompress'])
    if ((get(name) ?? '0') !== '0') throw serverError(48, 'NOT_IMPLEMENTED', `The front does not support '${name}'`)
  return {
    method,
    query: fields.flatMap(([name, value]) => (name === 'query' ? [value] : [])).join(''),
    params: Object.fromEntries(
      fields.flatMap(([name, value]) => (name.startsWith('param_') ? [[name.slice('param_'.length), value]] : [])),
    ),
    settings: fields.filter(([name]) => !NOT_SETTINGS.test(name)),
    database: get('database') || header('x-clickhouse-database') || undefined,
    queryId: get('query_id') || undefined,
    format: get('default_format') || header('x-clickhouse-format') || undefined,
    readonly: method !== 'POST' || (get('readonly') ?? '0') !== '0',
    waitForEnd: get('wait_end_of_query') === '1',
    compress: get('enable_http_compression') === '1' ? codingOf(header('accept-encoding')) : undefined,
  }
}

function codingOf(accepted = ''): RequestParts['compress'] {
  // ClickHouse's own order of preference.
  return (['br', 'gzip', 'deflate'] as const).find((coding) => new RegExp(`\\b${coding}\\b`).test(accepted))
}

/** The body without its content coding. Errors of the coding surface as errors of the stream. */
export function bodyOf(request: IncomingMessage): Readable {
  const coding = request.headers['content-encoding'] ?? 'identity'
  if (coding === 'identity') return request
  const decoder = DECODERS[coding]?.()
  if (!decoder) throw serverError(48, 'NOT_IMPLEMENTED', `Unknown compression method ${coding}`)
  request.on('error', (error) => decoder.destroy(error))
  request.on('aborted', () => decoder.destroy(new Error('the client went away')))
  return request.pipe(decoder)
}

const DECODERS: Record<string, () => ReturnType<typeof createGunzip>> = {
  gzip: createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
}

/** The whole of a stream, up to a limit. */
export async function collect(stream: AsyncIterable<unknown>, limitBytes: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of stream as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > limitBytes) throw serverError(307, 'TOO_MANY_BYTES', `The body is longer than ${limitBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

/** The fields of a multipart/form-data body: a query and its parameters, when they are too long for a URL. */
export function formFields(body: Buffer, contentType: string): URLSearchParams {
  const boundary = /boundary="?([^";]+)"?/.exec(contentType)?.[1]
  if (!boundary) throw serverError(36, 'BAD_ARGUMENTS', 'A multipart body needs a boundary')
  const fields = new URLSearchParams()
  for (const part of body.toString('utf8').split(`--${boundary}`).slice(1, -1)) {
    const [, head = '', value = ''] = /^\r\n([\s\S]*?)\r\n\r\n([\s\S]*)\r\n$/.exec(part) ?? []
    const name = /\bname="([^"]*)"/.exec(head)?.[1]
    if (name === undefined || /\bfilename=/.test(head))
      throw serverError(48, 'NOT_IMPLEMENTED', 'The front does not support external tables')
    fields.append(name, value)
  }
  return fields
}
