import { createReadStream } from 'node:fs'
import { isNumberText, numberText, type Row, type RowSource } from './row.ts'

const NEWLINE = 0x0a
/** As much as a request may hold. */
const LONGEST_LINE_BYTES = 10 * 1024 * 1024

/** One JSON object a line; a row's number is that of its line, and empty lines are none. */
export function openNdjson(file: string, lines: number): RowSource {
  return {
    columns: undefined,
    totalRows: lines,
    rows: (afterRow) => rows(file, afterRow),
    close: async () => undefined,
  }
}

async function* rows(file: string, afterRow: number): AsyncIterable<Row> {
  let row = 0
  for await (const line of linesOf(file)) {
    row++
    const text = row > afterRow ? textOf(line, row) : ''
    if (text.trim() !== '') yield parseLine(row, text)
  }
}

/** Lines end with \n alone: other line ends may stand in JSON text. */
async function* linesOf(file: string): AsyncIterable<Buffer> {
  let parts: Buffer[] = []
  let bytes = 0
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
    let from = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      yield Buffer.concat([...parts, chunk.subarray(from, end)])
      parts = []
      bytes = 0
      from = end + 1
    }
    const rest = chunk.subarray(from)
    bytes += rest.length
    if (bytes > LONGEST_LINE_BYTES) throw new Error(`A line is longer than ${LONGEST_LINE_BYTES} bytes: is it NDJSON?`)
    if (rest.length > 0) parts.push(rest)
  }
  if (parts.length > 0) yield Buffer.concat(parts)
}

function textOf(line: Buffer, row: number): string {
  const text = line.toString('utf8')
  return row === 1 ? text.replace(/^\uFEFF/, '') : text
}

export function parseLine(row: number, text: string): Row {
  let value: unknown
  try {
    value = unmarked(JSON.parse(marked(text)))
  } catch (error) {
    return { row, broken: `The line is no JSON: ${sentence(error)}`, text }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value) || isNumberText(value)) {
    return { row, broken: 'The line is no JSON object', text }
  }
  return { row, cells: value as Record<string, unknown> }
}

/** A string that begins so stands for a number, or for a string of the file that begins with the same character. */
const MARK = '\u0000'
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g
const BEGINS_WITH_MARK = /^"\\u0000/

/** Numbers become strings with a mark, because JSON.parse would round them. */
function marked(text: string): string {
  return text.replace(TOKEN, (token) => {
    if (!token.startsWith('"')) return /^-?0\d/.test(token) ? token : `"\\u0000n${token}"`
    return BEGINS_WITH_MARK.test(token) ? `"\\u0000s${token.slice(1)}` : token
  })
}

function unmarked(value: unknown): unknown {
  if (typeof value === 'string') {
    if (!value.startsWith(MARK)) return value
    return value[1] === 'n' ? numberText(value.slice(2)) : value.slice(2)
  }
  if (Array.isArray(value)) return value.map(unmarked)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [unmarkedName(name), unmarked(member)]))
}

/** A name that began with the mark got another one; no number is a name. */
function unmarkedName(name: string): string {
  return name.startsWith(`${MARK}s`) ? name.slice(2) : name
}

function sentence(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replaceAll(MARK, '').slice(0, 200)
}
