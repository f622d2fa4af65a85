import { type DestinationStream, destination, type Logger, pino } from 'pino'
import { gatherLines } from './gathered-lines.ts'

export type LoggerOptions = {
  /** `LOG_LEVEL`; 'info' when not given. */
  level?: string | undefined
  /** Where lines go: stderr unless a test listens, so that stdout stays free for what a command prints. */
  stream?: DestinationStream
}

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

/** JSON lines with `timestamp`, `level`, `service`, `message`. Bodies, headers, query values and secrets never appear. */
export function createLogger(options: LoggerOptions = {}): Logger {
  const level = options.level || 'info'
  if (!LEVELS.includes(level)) throw new Error(`LOG_LEVEL is '${level}': it must be one of ${LEVELS.join(', ')}`)
  return pino(
    {
      level,
      base: {},
      // A role names itself; a member that stands twice in JSON would be read differently by different readers.
      mixin: (line) => ('service' in line ? {} : { service: 'tallyline' }),
      messageKey: 'message',
      errorKey: 'error',
      timestamp: timestampOf(),
      formatters: { level: (label) => ({ level: label }) },
      serializers: { req: request, res: response, err: loggedError, error: loggedError },
      hooks: { streamWrite: withoutSecrets },
    },
    options.stream ?? gatherLines(destination({ fd: 2, sync: true })),
  )
}

/** The time as a member of a line. Lines come in bursts, and writing the time costs as much as the rest of a short one. */
function timestampOf(): () => string {
  let latestMs = Number.NaN
  let member = ''
  return () => {
    const nowMs = Date.now()
    if (nowMs !== latestMs) {
      latestMs = nowMs
      member = `,"timestamp":"${new Date(nowMs).toISOString()}"`
    }
    return member
  }
}

/** Blanks API keys and passwords of URLs wherever they stand in a line: error messages quote what they were given. */
export function withoutSecrets(line: string): string {
  const withoutKeys = line.includes('tly_')
    ? line.replace(/tly_([0-9A-Za-z]{1,20})_[0-9A-Za-z]+(?:_[0-9A-Za-z]+)?/g, 'tly_$1_[secret]')
    : line
  if (!withoutKeys.includes('@')) return withoutKeys
  return withoutKeys.replace(/(\w:\/\/[^\s:/@"]*):[^\s/@"]+@/g, '$1:[secret]@')
}

// The serializers are allow-lists: what a library hangs on a request or an error tomorrow is not logged.
function request(value: unknown): object {
  const { method, routeOptions } = value as { method?: string; routeOptions?: { url?: string } }
  return { method, route: routeOptions?.url }
}

function response(value: unknown): object {
  return { status: (value as { statusCode?: number }).statusCode }
}

function loggedError(value: unknown): object {
  if (!(value instanceof Error)) return { message: String(value) }
  const { code } = value as { code?: unknown }
  return {
    type: value.name,
    message: value.message,
    ...(typeof code === 'string' ? { code } : {}),
    stack: value.stack,
    ...(value.cause === undefined ? {} : { cause: loggedError(value.cause) }),
  }
}
