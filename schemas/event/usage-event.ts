import type { TenantId } from '../http/door.ts'
import { asciiOf } from './ascii.ts'

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
 * written here with the published schema. Events written one after the other share a piece of memory, and what is the
 * same as in the event before is copied from there.
 */
export function encodeEvent({ tenant, source, id, shard, type, subject, timeMs, timeGiven, data }: UsageEvent): Buffer {
  // At most: a long takes 10 bytes and a UTF-16 unit 3 of UTF-8. Data may be large, so it is measured.
  const dataBytes = data.length > LONG_TEXT ? Buffer.byteLength(data) : 3 * data.length
  const texts = 3 * (source.length + id.length + type.length + subject.length)
  const bytes = roomFor(texts + dataBytes + 8 * LONGEST_LONG + 1)
  const start = used
  let at = start
  if (head.tenant === tenant && head.source === source) at = writeBytes(bytes, head.bytes, head.start, head.end, at)
  else {
    at = writeText(bytes, source, writeLong(bytes, tenant, at))
    head = { tenant, source, bytes, start, end: at }
    used = at
  }
  at = writeId(bytes, id, at)
  if (middle.subject === subject && middle.shard === shard && middle.type === type)
    at = writeBytes(bytes, middle.bytes, middle.start, middle.end, at)
  else {
    const from = at
    at = writeText(bytes, subject, writeText(bytes, type, writeLong(bytes, shard, at)))
    middle = { shard, type, subject, bytes, start: from, end: at }
    used = at
  }
  at = writeLong(bytes, timeMs, at)
  bytes[at++] = timeGiven ? 1 : 0
  at = writeText(bytes, data, at)
  used = at
  return bytes.subarray(start, at)
}

/** Where the fields before the id, and those between it and the time, were written last; NaN is equal to nothing. */
type Written = { bytes: Buffer; start: number; end: number }
const NOWHERE = { bytes: Buffer.alloc(0), start: 0, end: 0 }
let head: Written & { tenant: TenantId; source: string } = { tenant: Number.NaN, source: '', ...NOWHERE }
let middle: Written & Pick<UsageEvent, 'shard' | 'type' | 'subject'> = {
  ...{ shard: Number.NaN, type: '', subject: '' },
  ...NOWHERE,
}

/** Where events are written next: from `used` on, which only grows, so that what was handed out is never touched again. */
let slab = Buffer.alloc(0)
let used = 0
const SLAB_BYTES = 64 * 1024

function roomFor(bytes: number): Buffer {
  if (slab.length - used < bytes) {
    slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes))
    used = 0
  }
  return slab
}

/** Avro's long for numbers up to ±2^52: zigzag, then seven bits a byte, lowest first, the top bit set on all but the last. */
export function encodeLong(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(LONGEST_LONG)
  return bytes.subarray(0, writeLong(bytes, value, 0))
}

const LONGEST_LONG = 10
const FOUR_BYTES = 2 ** 28

function writeLong(bytes: Buffer, value: number, start: number): number {
  let at = start
  let high = value < 0 ? -2 * value - 1 : 2 * value
  // The lowest four bytes in integers, whose shifts are cheap.
  if (high >= FOUR_BYTES) {
    // Exact for a power of two, and a fraction of what a remainder costs.
    const rest = Math.floor(high / FOUR_BYTES)
    const low = high - rest * FOUR_BYTES
    high = rest
    bytes[at++] = (low & 0x7f) | 0x80
    bytes[at++] = ((low >> 7) & 0x7f) | 0x80
    bytes[at++] = ((low >> 14) & 0x7f) | 0x80
    bytes[at++] = (low >> 21) | 0x80
  }
  let rest = high | 0
  for (; rest >= 0x80; rest >>= 7) bytes[at++] = (rest & 0x7f) | 0x80
  bytes[at++] = rest
  return at
}

function writeBytes(bytes: Buffer, from: Buffer, start: number, end: number, to: number): number {
  let at = to
  for (let place = start; place < end; place++) bytes[at++] = from[place] ?? 0
  return at
}

function writeId(bytes: Buffer, id: string, start: number): number {
  const ascii = asciiOf(id)
  if (!ascii) return writeUtf8(bytes, id, start)
  const from = writeLong(bytes, id.length, start)
  for (let at = 0; at < id.length; at++) bytes[from + at] = ascii[at] ?? 0
  return from + id.length
}

/** Very short texts of ASCII are copied here: a call into the runtime costs as much as some thirty characters. */
function writeText(bytes: Buffer, text: string, start: number): number {
  if (text.length > SHORT_TEXT) return writeUtf8(bytes, text, start)
  const from = writeLong(bytes, text.length, start)
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (unit > 0x7f) return writeUtf8(bytes, text, start)
    bytes[from + at] = unit
  }
  return from + text.length
}
const SHORT_TEXT = 24
const LONG_TEXT = 1024

/** As if it were ASCII, which is nearly always so: then its length is known before it is written. */
function writeUtf8(bytes: Buffer, text: string, start: number): number {
  const from = writeLong(bytes, text.length, start)
  const length = bytes.write(text, from)
  if (length === text.length) return from + length
  const again = writeLong(bytes, length, start)
  return again + bytes.write(text, again)
}
