import { OPERATION_PREFIX } from '../../schemas/event/operation.ts'
import { isObject } from '../event-types/json.ts'
import { readTime } from './time.ts'

/** An event as its emitter sent it, `data` not yet checked. `timeGiven`: the emitter sent a time; else it is that of arrival. */
export type CloudEvent = {
  source: string
  id: string
  type: string
  subject: string
  timeMs: number
  timeGiven: boolean
  data: unknown
  /** The extension `tallyhold`: the reservation or lease that admitted it. */
  hold?: string | undefined
}
export type CloudEventCode = 'missing_field' | 'invalid_value' | 'reserved_type' | 'event_in_future' | 'event_too_old'
/** `id` is given when the event has a valid one, so that the emitter can find it. */
export type CloudEventRefusal = { ok: false; id?: string; code: CloudEventCode; path: string; message: string }
/** `mayBackfill`: the credential has billing:usage:backfill. */
export type CloudEventOptions = { mayBackfill: boolean }

/** Those that the product reads; other extensions are ignored, in every mode of every door. */
export const ATTRIBUTES = ['specversion', 'id', 'source', 'type', 'subject', 'time', 'tallyhold'] as const
/** Bytes of UTF-8. */
const LONGEST = { id: 256, source: 256, type: 128, subject: 256, tallyhold: 256 } as const
type AttributeName = keyof typeof LONGEST
/** Nearly every attribute is, and for it a character is a byte. */
const PRINTABLE_ASCII = /^[ -~]*$/
const DAY_MS = 86_400_000
/** Of the time of an event. */
export const MOST_AHEAD_MS = 5 * 60_000
const OPEN_MS = 35 * DAY_MS
const RETENTION_YEARS = 7

/** Reads a CloudEvents 1.0 object. Extension attributes but `tallyhold` are ignored; a null attribute counts as absent. */
export function readCloudEvent(
  raw: unknown,
  nowMs: number,
  options: CloudEventOptions,
): { ok: true; event: CloudEvent } | CloudEventRefusal {
  if (!isObject(raw)) return refuse('invalid_value', '', 'must be a JSON object with the attributes of a CloudEvent')
  const id = readAttribute('id', raw.id)
  if (typeof id !== 'string') return id
  const refusal = checkEnvelope(raw)
  if (refusal) return { ...refusal, id }
  const source = readSource(raw.source)
  if (typeof source !== 'string') return { ...source, id }
  const type = readType(raw.type)
  if (typeof type !== 'string') return { ...type, id }
  if (type.startsWith(OPERATION_PREFIX)) {
    const message = `must not begin with ${OPERATION_PREFIX}: that prefix is reserved for corrections`
    return { ...refuse('reserved_type', 'type', message), id }
  }
  const subject = readSubject(raw.subject)
  if (typeof subject !== 'string') return { ...subject, id }
  const timeGiven = raw.time !== undefined && raw.time !== null
  const timeMs = timeGiven ? readEventTime(raw.time, nowMs, options) : nowMs
  if (typeof timeMs !== 'number') return { ...timeMs, id }
  const { data } = raw
  if (data === undefined || data === null)
    return { ...refuse('missing_field', 'data', 'is missing; send an object'), id }
  if (!isObject(data)) return { ...refuse('invalid_value', 'data', 'must be an object'), id }
  if (raw.tallyhold === undefined || raw.tallyhold === null)
    return { ok: true, event: { source, id, type, subject, timeMs, timeGiven, data } }
  const hold = readHold(raw.tallyhold)
  if (typeof hold !== 'string') return { ...hold, id }
  return { ok: true, event: { source, id, type, subject, timeMs, timeGiven, data, hold } }
}

/**
 * Reads an attribute that is mostly the same in events that come together. The same text is not checked again, and is
 * handed on as the same string: its hash is known, and it is kept once.
 */
function repeating(name: AttributeName): (value: unknown) => string | CloudEventRefusal {
  let latest: string | undefined
  return (value) => {
    if (latest !== undefined && value === latest) return latest
    const read = readAttribute(name, value)
    if (typeof read === 'string') latest = read
    return read
  }
}
const readSource = repeating('source')
const readType = repeating('type')
const readSubject = repeating('subject')
const readHold = repeating('tallyhold')

function readAttribute(name: AttributeName, value: unknown): string | CloudEventRefusal {
  const longest = LONGEST[name]
  if (value === undefined || value === null) return refuse('missing_field', name, 'is missing; send a string')
  if (typeof value !== 'string' || value === '') return refuse('invalid_value', name, 'must be a non-empty string')
  if (value.length <= longest && PRINTABLE_ASCII.test(value)) return value
  if (value.length > longest || Buffer.byteLength(value) > longest) {
    return refuse('invalid_value', name, `must be at most ${longest} bytes of UTF-8`)
  }
  if (/\p{Cc}|\p{Cs}/u.test(value)) {
    return refuse('invalid_value', name, 'must be well-formed text without control characters')
  }
  return value
}

function checkEnvelope(raw: Record<string, unknown>): CloudEventRefusal | undefined {
  const version = raw.specversion ?? '1.0'
  if (version !== '1.0') return refuse('invalid_value', 'specversion', 'must be "1.0" or left out')
  if (raw.data_base64 !== undefined && raw.data_base64 !== null) {
    return refuse('invalid_value', 'data_base64', 'is not supported; send data as a JSON object')
  }
  const contentType = raw.datacontenttype
  if (contentType === undefined || contentType === null) return undefined
  if (typeof contentType !== 'string' || !/^application\/json\s*(;|$)/i.test(contentType)) {
    return refuse('invalid_value', 'datacontenttype', 'must be application/json or left out')
  }
  return undefined
}

function readEventTime(raw: unknown, nowMs: number, { mayBackfill }: CloudEventOptions): number | CloudEventRefusal {
  if (typeof raw !== 'string') return refuse('invalid_value', 'time', 'must be an RFC 3339 time as a string')
  const read = readTime(raw)
  if ('message' in read) return refuse('invalid_value', 'time', read.message)
  const { ms } = read
  if (ms > nowMs + MOST_AHEAD_MS) {
    return refuse('event_in_future', 'time', 'is more than 5 minutes ahead; check the clock of the emitter')
  }
  if (ms < nowMs - OPEN_MS) {
    if (ms < retainedFrom(nowMs)) {
      return refuse('event_too_old', 'time', `is more than ${RETENTION_YEARS} years ago; such events are not kept`)
    }
    if (!mayBackfill) {
      return refuse('event_too_old', 'time', 'is more than 35 days ago; use a key with billing:usage:backfill')
    }
  }
  return ms
}

function retainedFrom(nowMs: number): number {
  const date = new Date(nowMs)
  return date.setUTCFullYear(date.getUTCFullYear() - RETENTION_YEARS)
}

function refuse(code: CloudEventCode, path: string, message: string): CloudEventRefusal {
  return { ok: false, code, path, message }
}
