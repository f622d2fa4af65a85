import { gunzip } from 'node:zlib'
import { Problem } from '../../schemas/http/problem.ts'
import { type BodyFormat, formatOf } from './content-type.ts'
import { cannotNestDeeper, countOpeners, nestingFault } from './nesting.ts'

/** Sizes in bytes. Gzip may expand by `ratio`, which only counts beyond `ratioFrom` bytes of output. */
export const BODY_LIMITS = { bytes: 10_485_760, events: 10_000, levels: 64, ratio: 50, ratioFrom: 65_536 } as const

/** The most bytes that a body can become when it is unpacked: what a request is charged for before it is read. */
export function largestUnpacked(contentEncoding: string | undefined, body: Buffer): number {
  return encodingOf(contentEncoding) === 'identity' ? body.length : largestInflated(body)
}

export type EncodedBody = { contentType: string | undefined; contentEncoding: string | undefined; body: Buffer }
/** `single` says that the body was one object and not a list of one. */
export type DecodedBody = { events: unknown[]; single: boolean }

const FEWER = `send at most ${BODY_LIMITS.events} events and ${BODY_LIMITS.bytes} bytes in one request`

/**
 * The events of a request's body, parsed and not yet checked. Throws Problem unsupported_media_type,
 * body_too_large, invalid_encoding, invalid_json or invalid_request.
 */
export async function decodeBody({ contentType, contentEncoding, body }: EncodedBody): Promise<DecodedBody> {
  const format = formatOf(contentType)
  const encoding = encodingOf(contentEncoding)
  if (body.length > BODY_LIMITS.bytes) throw tooLarge()
  const bytes = encoding === 'identity' ? body : await inflate(body)
  try {
    return decodeShallow(bytes, format)
  } catch (fault) {
    // Whatever else is wrong, depth is what the sender is told.
    refuseDeep(bytes, format)
    throw fault
  }
}

/** So many brackets cost little memory however they nest. */
const FEW_OPENERS = 2 * BODY_LIMITS.events + BODY_LIMITS.levels

/** Nearly no body needs the scan for nesting, which costs as much as parsing: the number of its brackets says enough. */
function decodeShallow(bytes: Buffer, format: BodyFormat): DecodedBody {
  const text = decodeText(bytes)
  const openers = countOpeners(text, FEW_OPENERS)
  // Before it is parsed: a body of brackets takes thirty times its size.
  if (openers > FEW_OPENERS) refuseDeep(bytes, format)
  if (text.trim() === '') throw new Problem('invalid_request', 'The body is empty; send at least one event.')
  const decoded = format === 'lines' ? { events: parseLines(text), single: false } : parseDocument(text, format)
  if (decoded.events.length === 0) throw new Problem('invalid_request', 'The list is empty; send at least one event.')
  if (!cannotNestDeeper(decoded.events, openers, BODY_LIMITS.levels)) refuseDeep(bytes, format)
  return decoded
}

function refuseDeep(bytes: Buffer, format: BodyFormat): void {
  const fault = nestingFault(bytes, BODY_LIMITS.levels, format === 'lines')
  if (!fault) return
  const place = format === 'lines' ? ` on line ${fault.line}` : ''
  throw new Problem('invalid_json', `Nest JSON at most ${BODY_LIMITS.levels} levels deep; it is deeper${place}.`)
}

function encodingOf(contentEncoding: string | undefined): 'identity' | 'gzip' {
  const encoding = (contentEncoding ?? '').trim().toLowerCase()
  if (encoding === '' || encoding === 'identity') return 'identity'
  if (encoding === 'gzip' || encoding === 'x-gzip') return 'gzip'
  throw new Problem('unsupported_media_type', 'Content-Encoding must be gzip or identity.')
}

/** A bomb stops at the limit of its own size, long before that of the body. */
function largestInflated(body: Buffer): number {
  return Math.min(BODY_LIMITS.bytes, Math.max(BODY_LIMITS.ratioFrom, body.length * BODY_LIMITS.ratio))
}

async function inflate(body: Buffer): Promise<Buffer> {
  if (body.length === 0) return body
  try {
    const { buffer, engine } = await gunzipWithInfo(body, largestInflated(body))
    if (engine.bytesWritten === body.length) return buffer
  } catch (cause) {
    if (cause instanceof RangeError) throw tooLarge(cause)
    throw new Problem('invalid_encoding', 'The gzip body is truncated or corrupt; compress and send it again.', {
      cause,
    })
  }
  // After a zero byte gunzip ignores the rest: events in it would vanish unseen.
  throw new Problem('invalid_encoding', 'The gzip body is followed by other bytes; send nothing but gzip.')
}

type GunzipInfo = { buffer: Buffer; engine: { bytesWritten: number } }

function gunzipWithInfo(body: Buffer, maxOutputLength: number): Promise<GunzipInfo> {
  // The types of Node know neither the option `info` nor the result that it makes.
  const options = { maxOutputLength, info: true }
  return new Promise((resolve, reject) => {
    gunzip(body, options, (error, result) => (error ? reject(error) : resolve(result as unknown as GunzipInfo)))
  })
}

const UTF_8 = new TextDecoder('utf-8', { fatal: true })

function decodeText(bytes: Buffer): string {
  try {
    return UTF_8.decode(bytes)
  } catch (cause) {
    throw new Problem('invalid_encoding', 'The body is not valid UTF-8; encode it as UTF-8.', { cause })
  }
}

function parseDocument(text: string, format: BodyFormat): DecodedBody {
  const document = parse(text, '')
  if (Array.isArray(document)) {
    if (document.length > BODY_LIMITS.events) throw tooLarge()
    return { events: document, single: false }
  }
  if (format === 'batch') throw new Problem('invalid_request', 'A batch must be a JSON array of events.')
  if (typeof document !== 'object' || document === null) {
    throw new Problem('invalid_request', 'The body must be an event as a JSON object, or an array of them.')
  }
  return { events: [document], single: true }
}

function parseLines(text: string): unknown[] {
  const events: unknown[] = []
  let line = 0
  for (let start = 0; start < text.length; ) {
    const found = text.indexOf('\n', start)
    const end = found < 0 ? text.length : found
    const content = text.slice(start, end).trim()
    start = end + 1
    line++
    if (content === '') continue
    if (events.length === BODY_LIMITS.events) throw tooLarge()
    events.push(parse(content, ` on line ${line}`))
  }
  return events
}

function parse(text: string, place: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.slice(0, 200) : ''
    throw new Problem('invalid_json', `Correct the JSON${place}: ${reason}.`, { cause })
  }
}

function tooLarge(cause?: unknown): Problem {
  return new Problem('body_too_large', `The body is too large or compressed beyond ${BODY_LIMITS.ratio}:1; ${FEWER}.`, {
    cause,
  })
}
