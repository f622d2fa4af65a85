export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

/** A number as it stands in the file: read as a double it could lose digits. */
export type NumberText = { readonly [NUMBER_TEXT]: true; readonly numberText: string }
const NUMBER_TEXT = Symbol('a number as text')

export function numberText(text: string): NumberText {
  return { [NUMBER_TEXT]: true, numberText: text }
}

export function isNumberText(value: unknown): value is NumberText {
  return typeof value === 'object' && value !== null && NUMBER_TEXT in value
}

/** A row of the file, numbered from 1: what stands in its columns, or why it cannot be read. */
export type Row = { row: number } & ({ cells: Readonly<Record<string, unknown>> } | { broken: string; text: string })

export type ColumnType = 'number' | 'string' | 'boolean'

/** A file's rows, in an order that never changes: ids are made of their numbers. */
export type RowSource = {
  /** What the columns are called, and what they seem to hold; undefined where every row has names of its own. */
  columns: readonly { name: string; type: ColumnType }[] | undefined
  totalRows: number
  /** The rows after a row. */
  rows(afterRow: number): AsyncIterable<Row>
  close(): Promise<void>
}
