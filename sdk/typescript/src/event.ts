/** What a service tells. `id` and `time` are set when they are not given, once, at emission. */
export type UsageEvent = {
  /** The registered event type, such as `llm.request`. */
  type: string
  /** Whom it is counted for. */
  subject: string
  data: object
  id?: string
  time?: Date | string | number
  source?: string
  /** Of the decision that admitted the work: `decision.hold`. */
  hold?: string | undefined
}

/** An event on its way, as the CloudEvent in JSON that is sent, the same in every attempt. */
export type Entry = {
  id: string
  text: string
  emittedMs: number
  /** Events emitted before the same flush. */
  epoch: number
  /** Its place in the spool, when there is one. */
  seq: number | undefined
  /** Answered for, or told. */
  settled: boolean
}

/** Why an event will not be counted. Codes of the server's outcomes and problems, or one of the client's own. */
export type DeadLetter = {
  id: string | undefined
  /** The CloudEvent as sent; what the caller handed over when it is no valid event. */
  event: unknown
  code: string
  message: string
  path?: string | undefined
}

/** Printable ASCII without a quote or a backslash stands in JSON as it is. */
const PLAIN = /^[ !#-[\]-~]*$/

/** Writes CloudEvents of one client. Throws a TypeError that says what is wrong with the event. */
export function createEncoder(defaultSource: string): (event: UsageEvent, id: string, nowMs: number) => string {
  const sourceJson = quoted(defaultSource)
  let latestMs = Number.NaN
  let latestTime = ''
  const timeOf = (nowMs: number) => {
    if (nowMs !== latestMs) {
      latestMs = nowMs
      latestTime = new Date(nowMs).toISOString()
    }
    return latestTime
  }
  return (event, id, nowMs) => {
    const { type, subject, data, time, source, hold } = event
    if (typeof type !== 'string' || type === '') throw new TypeError('type must be a non-empty string')
    if (typeof subject !== 'string' || subject === '') throw new TypeError('subject must be a non-empty string')
    if (typeof data !== 'object' || data === null || Array.isArray(data)) throw new TypeError('data must be an object')
    const json: string | undefined = JSON.stringify(data)
    if (!json?.startsWith('{')) throw new TypeError('data must be an object in JSON (its toJSON makes it none)')
    const written = source === undefined ? sourceJson : quoted(source)
    const at = time === undefined ? timeOf(nowMs) : typeof time === 'string' ? time : new Date(time).toISOString()
    const held = hold === undefined ? '' : `,"tallyhold":${quoted(hold)}`
    const head = `{"specversion":"1.0","id":${quoted(id)},"source":${written},"type":${quoted(type)}`
    return `${head},"subject":${quoted(subject)},"time":${quoted(at)}${held},"data":${json}}`
  }
}

function quoted(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(String(text))
}

/** The event as it is sent; the text itself if it is no JSON. */
export function eventOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
