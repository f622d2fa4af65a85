import type { TenantId } from '../http/door.ts'

/** One event as it lies in the log. `timeMs` is in milliseconds since 1970; `data` is JSON text. */
export type UsageEvent = {
  tenant: TenantId
  source: string
  id: string
  shard: number
  type: string
  subject: string
  timeMs: number
  timeGiven: boolean
  data: string
}

/**
 * The Avro bytes of one event, ready to be put into a batch. Written by hand, field by field in the order of
 * usage-batch.avsc, because the edge does it for every event: avsc takes ten times as long. A test reads what is
 * written here with the published schema.
 */
export function encodeEvent({ tenant, source, id, shard, type, subject, timeMs, timeGiven, data }: UsageEvent): Buffer {
  const sourceBytes = Buffer.byteLength(source)
  const idBytes = Buffer.byteLength(id)
  const typeBytes = Buffer.byteLength(type)
  const subjectBytes = Buffer.byteLength(subject)
  const dataBytes = Buffer.byteLength(data)
  const texts = textSize(sourceBytes) + textSize(idBytes) + textSize(typeBytes) + textSize(subjectBytes)
  const numbers = longSize(tenant) + longSize(shard) + longSize(timeMs) + 1
  const bytes = Buffer.allocUnsafe(texts + textSize(dataBytes) + numbers)
  let at = writeLong(bytes, tenant, 0)
  at = writeText(bytes, source, sourceBytes, at)
  at = writeText(bytes, id, idBytes, at)
  at = writeLong(bytes, shard, at)
  at = writeText(bytes, type, typeBytes, at)
  at = writeText(bytes, subject, subjectBytes, at)
  at = writeLong(bytes, timeMs, at)
  bytes[at++] = timeGiven ? 1 : 0
  writeText(bytes, data, dataBytes, at)
  return bytes
}

/** Avro's long for numbers up to ±2^52: zigzag, then seven bits a byte, lowest first, the top bit set on all but the last. */
export function encodeLong(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(longSize(value))
  writeLong(bytes, value, 0)
  return bytes
}

function zigzag(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value
}

function longSize(value: number): number {
  let size = 1
  for (let rest = zigzag(value); rest >= 0x80; rest = Math.floor(rest / 0x80)) size++
  return size
}

function textSize(utf8Bytes: number): number {
  return longSize(utf8Bytes) + utf8Bytes
}

function writeLong(bytes: Buffer, value: number, start: number): number {
  let at = start
  let rest = zigzag(value)
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[at++] = (rest % 0x80) | 0x80
  bytes[at++] = rest
  return at
}

/** Short texts of ASCII are copied here: a call into the runtime costs more. */
function writeText(bytes: Buffer, text: string, utf8Bytes: number, start: number): number {
  const from = writeLong(bytes, utf8Bytes, start)
  if (text.length !== utf8Bytes || utf8Bytes > SHORT_TEXT) return from + bytes.write(text, from)
  for (let at = 0; at < utf8Bytes; at++) bytes[from + at] = text.charCodeAt(at)
  return from + utf8Bytes
}
const SHORT_TEXT = 64
