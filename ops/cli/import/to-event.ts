import { readTime } from '../../../ingest/accept/time.ts'
import type { DataFrom, Mapping, TextFrom, TimeFrom } from './mapping.ts'
import { exactNumber, looksLikeNumber } from './numbers.ts'
import { isNumberText, numberText, type Row } from './row.ts'
import { rowId } from './row-id.ts'

/** An event as it is to be sent; numbers of its data are still texts. */
export type RowEvent = {
  id?: unknown
  source?: unknown
  type?: unknown
  subject?: unknown
  time?: unknown
  data?: unknown
} & Record<string, unknown>

/** A row that cannot be sent, and why. */
export type BrokenRow = { row: number; code: string; path: string; message: string; cells: unknown }
export type Mapped = { row: number; event: RowEvent } | BrokenRow

/** Makes events of rows. Without a mapping a row is an event already, with its data in `data` or in `data.…`. */
export function rowMapper(
  mapping: Mapping | undefined,
  options: { fileSha256: string; ownsSource: boolean },
): (row: Row) => Mapped {
  return (row) => {
    if ('broken' in row) return broken(row.row, 'invalid_json', '', row.broken, row.text)
    const { cells } = row
    const made = mapping ? mapped(mapping, cells) : asItIs(cells)
    if ('message' in made) return broken(row.row, 'invalid_value', made.path, made.message, cells)
    const { event } = made
    if (options.ownsSource && event.source !== undefined) {
      return broken(row.row, 'invalid_value', 'source', 'must be left out: the backfill has its own', cells)
    }
    if (event.id === undefined || event.id === null) event.id = rowId(options.fileSha256, row.row, timeMsOf(event.time))
    return { row: row.row, event }
  }
}

type Made = { event: RowEvent } | { path: string; message: string }
type Cells = Readonly<Record<string, unknown>>

function broken(row: number, code: string, path: string, message: string, cells: unknown): BrokenRow {
  return { row, code, path, message, cells }
}

function mapped(mapping: Mapping, cells: Cells): Made {
  const event: RowEvent = bare()
  for (const name of ['id', 'source', 'type', 'subject'] as const) {
    const from = mapping[name]
    const text = from && textOf(from, cells)
    if (text !== undefined) event[name] = text
  }
  if (mapping.time) {
    const time = timeOf(mapping.time, cells)
    if (time !== undefined) event.time = time
  }
  const data = bare()
  for (const field of mapping.data) {
    const value = fieldValue(field, cells)
    if (value === undefined) continue
    if (value === WRONG) {
      const path = `data.${field.path.join('.')}`
      return {
        path,
        message: `the column ${field.column} holds no ${field.type}: ${shown(cellOf(cells, field.column))}`,
      }
    }
    put(data, field.path, value)
  }
  event.data = data
  return { event }
}

function asItIs(cells: Cells): Made {
  const event: RowEvent = bare()
  for (const [name, value] of Object.entries(cells)) if (!name.startsWith('data.')) event[name] = value
  const flat = Object.entries(cells).filter(([name]) => name.startsWith('data.'))
  if (flat.length === 0) return { event }
  if (event.data !== undefined) return { path: 'data', message: 'stands beside data.…: send one of them' }
  const data = bare()
  for (const [name, value] of flat) put(data, name.split('.').slice(1), value)
  event.data = data
  return { event }
}

/** A column by its name; else, in a row that nests, by its path. */
function cellOf(cells: Cells, column: string): unknown {
  if (Object.hasOwn(cells, column)) return cells[column] ?? undefined
  let value: unknown = cells
  for (const key of column.split('.')) {
    const inside = typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    value = inside ? (value as Record<string, unknown>)[key] : undefined
  }
  return value ?? undefined
}

/** Without a prototype, so that no name of the file can reach one. */
function bare(): Record<string, unknown> {
  return Object.create(null)
}

function put(data: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let at = data
  for (const key of path.slice(0, -1)) {
    const inner = at[key]
    const next = typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>) : bare()
    at[key] = next
    at = next
  }
  at[path.at(-1) ?? ''] = value
}

/** Text as it stands in the file; what is no text is left to the product to refuse. */
function textOf(from: TextFrom, cells: Cells): unknown {
  if ('constant' in from) return from.constant
  const cell = cellOf(cells, from.column)
  return isNumberText(cell) ? cell.numberText : cell
}

const WRONG = Symbol('not of the type')

function fieldValue({ column, type }: DataFrom, cells: Cells): unknown {
  const cell = cellOf(cells, column)
  if (cell === undefined) return undefined
  const text = isNumberText(cell) ? cell.numberText : typeof cell === 'object' ? undefined : String(cell)
  if (text === undefined) return WRONG
  if (type === 'string') return text
  if (type === 'number') return looksLikeNumber(text.trim()) ? numberText(text.trim()) : WRONG
  if (/^(true|1)$/i.test(text)) return true
  return /^(false|0)$/i.test(text) ? false : WRONG
}

const WITHOUT_OFFSET = /^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?$/

/** A time as RFC 3339: one without an offset is of UTC, a number counts from 1970. Another text goes as it is. */
function timeOf(from: TimeFrom, cells: Cells): unknown {
  const value = textOf(from, cells)
  if (typeof value !== 'string') return value
  const text = value.trim()
  if (from.unit !== undefined) {
    const count = looksLikeNumber(text) ? exactNumber(text) : undefined
    const date = new Date(Math.floor((count ?? Number.NaN) * (from.unit === 's' ? 1_000 : 1)))
    return Number.isNaN(date.getTime()) ? value : date.toISOString()
  }
  return WITHOUT_OFFSET.test(text) ? `${text.replace(' ', 'T')}Z` : text
}

function timeMsOf(time: unknown): number | undefined {
  if (typeof time !== 'string') return undefined
  const read = readTime(time)
  return 'ms' in read ? read.ms : undefined
}

function shown(value: unknown): string {
  const text = isNumberText(value) ? value.numberText : (JSON.stringify(value) ?? 'nothing')
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}
