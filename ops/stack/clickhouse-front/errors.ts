/** An exception as ClickHouse tells it: a number, its name, a sentence. */
export type ServerError = { code: number; name: string; message: string }

/** Thrown by the front itself, in ClickHouse's own words, so that clients parse it like any other. */
export function serverError(code: number, name: string, message: string): Error {
  return new Error(`Code: ${code}. DB::Exception: ${message}. (${name})`)
}

/** What the engine or the front threw. Text that is no ClickHouse exception becomes its catch-all, 1002. */
export function readError(error: unknown): ServerError {
  const message = error instanceof Error ? error.message : String(error)
  const code = /^Code: (\d+)\./.exec(message)?.[1]
  const names = [...message.matchAll(/\(([A-Z][A-Z0-9_]{2,})\)/g)]
  if (code === undefined) {
    const text = `Code: 1002. DB::Exception: ${message}. (UNKNOWN_EXCEPTION)`
    return { code: 1002, name: 'UNKNOWN_EXCEPTION', message: text }
  }
  return { code: Number(code), name: names.at(-1)?.[1] ?? 'UNKNOWN_EXCEPTION', message }
}

/** The status by the error's name, as the server's HTTP handler documents; all others are 500. */
export function httpStatus(name: string): number {
  return STATUS[name] ?? (name.startsWith('CANNOT_PARSE_') ? 400 : 500)
}

const BAD_REQUEST = [
  'BAD_ARGUMENTS',
  'CANNOT_COMPILE_REGEXP',
  'DUPLICATE_COLUMN',
  'ILLEGAL_COLUMN',
  'INCORRECT_DATA',
  'SYNTAX_ERROR',
  'THERE_IS_NO_COLUMN',
  'TOO_BIG_AST',
  'TOO_DEEP_AST',
  'TYPE_MISMATCH',
  'UNEXPECTED_AST_STRUCTURE',
  'UNKNOWN_ELEMENT_IN_AST',
  'UNKNOWN_TYPE_OF_AST_NODE',
  'VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE',
]
const NOT_FOUND = [
  'UNKNOWN_AGGREGATE_FUNCTION',
  'UNKNOWN_DATABASE',
  'UNKNOWN_DATABASE_ENGINE',
  'UNKNOWN_DIRECTION_OF_SORTING',
  'UNKNOWN_FORMAT',
  'UNKNOWN_FUNCTION',
  'UNKNOWN_IDENTIFIER',
  'UNKNOWN_ROLE',
  'UNKNOWN_SETTING',
  'UNKNOWN_STORAGE',
  'UNKNOWN_TABLE',
  'UNKNOWN_TYPE',
  'UNKNOWN_TYPE_OF_QUERY',
]
/** These begin like the parse errors above but are the server's own fault. */
const SERVER_FAULTS = ['CANNOT_PARSE_INPUT_ASSERTION', 'CANNOT_PARSE_CAPN_PROTO_SCHEMA', 'CANNOT_PARSE_PROTOBUF_SCHEMA']

const STATUS: Record<string, number> = {
  ...Object.fromEntries(SERVER_FAULTS.map((name) => [name, 500])),
  ...Object.fromEntries(BAD_REQUEST.map((name) => [name, 400])),
  ...Object.fromEntries(NOT_FOUND.map((name) => [name, 404])),
  ACCESS_DENIED: 403,
  CANNOT_OPEN_FILE: 503,
  CANNOT_SCHEDULE_TASK: 503,
  NOT_IMPLEMENTED: 501,
  QUERY_IS_TOO_LARGE: 413,
  SOCKET_TIMEOUT: 503,
  TIMEOUT_EXCEEDED: 408,
}
