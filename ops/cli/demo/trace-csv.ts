import { createHash } from 'node:crypto'

/** One request of the trace. `rowIndex` counts every data row of the file, broken ones too, so ids never shift. */
export type TraceRow = { rowIndex: number; timeMs: number; contextTokens: number; generatedTokens: number }
export type BadRow = { lineNumber: number; reason: string }
export type ParsedTrace = { rows: TraceRow[]; badRows: BadRow[] }

export const TRACE_HEADER = 'TIMESTAMP,ContextTokens,GeneratedTokens'

const TIMESTAMP = /^(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(?:\.(\d+))?Z?$/

/** Reads the text of a trace. Throws a sentence when it is no trace at all; a broken row is only reported. */
export function parseTraceCsv(text: string): ParsedTrace {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  while (lines.at(-1)?.trim() === '') lines.pop()
  if (lines.length === 0) throw new Error('The trace is empty.')
  if (lines[0] !== TRACE_HEADER) {
    throw new Error(`The trace's first line must be ${TRACE_HEADER}, it is ${shown(lines[0] ?? '')}.`)
  }
  if (lines.length === 1) throw new Error('The trace has a header but no data rows.')
  const parsed: ParsedTrace = { rows: [], badRows: [] }
  for (const [lineIndex, line] of lines.entries()) {
    if (lineIndex === 0) continue
    const row = parseRow(line, lineIndex - 1)
    if (typeof row === 'string') parsed.badRows.push({ lineNumber: lineIndex + 1, reason: row })
    else parsed.rows.push(row)
  }
  return parsed
}

/** Each input has a tenant of its own: the same bytes meet the same tenant again, other bytes never do. */
export function demoTenantSlug(traceBytes: Uint8Array | string): string {
  return `demo-${createHash('sha256').update(traceBytes).digest('hex').slice(0, 8)}`
}

/** UTC milliseconds of `2023-11-16 18:15:46.6805900`, the rest of the fraction cut off; undefined if it is no date. */
export function parseTimestampMs(text: string): number | undefined {
  const [, day, time, fraction = ''] = TIMESTAMP.exec(text) ?? []
  const iso = `${day}T${time}.${fraction.slice(0, 3).padEnd(3, '0')}Z`
  const timeMs = Date.parse(iso)
  // Date.parse turns 30 February into 2 March: only a date that prints as it was read is one.
  return Number.isNaN(timeMs) || new Date(timeMs).toISOString() !== iso ? undefined : timeMs
}

/** The row, or the reason why it is none. */
function parseRow(line: string, rowIndex: number): TraceRow | string {
  if (line.trim() === '') return 'the line is empty'
  const columns = line.split(',')
  const [timestamp = '', context = '', generated = ''] = columns
  if (columns.length !== 3) return `it has ${columns.length} columns instead of 3`
  const timeMs = parseTimestampMs(timestamp)
  if (timeMs === undefined) return `TIMESTAMP ${shown(timestamp)} is not a date and time`
  const contextTokens = parseCount(context)
  if (contextTokens === undefined) return `ContextTokens ${shown(context)} is not a whole number from 0 to 2^53 - 1`
  const generatedTokens = parseCount(generated)
  if (generatedTokens === undefined)
    return `GeneratedTokens ${shown(generated)} is not a whole number from 0 to 2^53 - 1`
  return { rowIndex, timeMs, contextTokens, generatedTokens }
}

function parseCount(text: string): number | undefined {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(count) ? count : undefined
}

/** Text from the file, quoted, escaped and short enough for a terminal. */
function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
}
