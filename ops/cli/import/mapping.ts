import { type Static, Type } from 'typebox'
import { Errors } from 'typebox/value'
import { InputError } from './options.ts'
import type { ColumnType, RowSource } from './row.ts'

const Strict = { additionalProperties: false }
const ColumnTypeName = Type.Union([Type.Literal('number'), Type.Literal('string'), Type.Literal('boolean')])
const Attribute = Type.Union([
  Type.String({ minLength: 1 }),
  Type.Object({ column: Type.String({ minLength: 1 }) }, Strict),
  Type.Object({ constant: Type.String({ minLength: 1 }) }, Strict),
])
const Time = Type.Union([
  Attribute,
  Type.Object(
    { column: Type.String({ minLength: 1 }), unit: Type.Union([Type.Literal('s'), Type.Literal('ms')]) },
    Strict,
  ),
])
const DataField = Type.Union([
  Type.String({ minLength: 1 }),
  Type.Object({ column: Type.String({ minLength: 1 }), type: Type.Optional(ColumnTypeName) }, Strict),
])
const MappingFile = Type.Object(
  {
    id: Type.Optional(Attribute),
    source: Type.Optional(Attribute),
    type: Attribute,
    subject: Attribute,
    time: Type.Optional(Time),
    data: Type.Record(Type.String({ minLength: 1 }), DataField),
  },
  Strict,
)
type MappingFile = Static<typeof MappingFile>

export type TextFrom = { column: string } | { constant: string }
export type TimeFrom = TextFrom & { unit?: 's' | 'ms' }
export type DataFrom = { path: readonly string[]; column: string; type: ColumnType }

/** Where the attributes of an event and the fields of its data come from. */
export type Mapping = {
  id?: TextFrom
  source?: TextFrom
  type: TextFrom
  subject: TextFrom
  time?: TimeFrom
  data: readonly DataFrom[]
}

/** The mapping that a file holds. Throws InputError. */
export function parseMapping(text: string): Mapping {
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch (error) {
    throw new InputError(`The mapping is no JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
  const [first] = Errors(MappingFile, raw)
  if (first) throw new InputError(`The mapping is wrong at ${first.instancePath || '/'}: ${first.message}`)
  const { data, ...attributes } = raw as MappingFile
  const mapping = Object.fromEntries(Object.entries(attributes).map(([name, from]) => [name, textFrom(from)]))
  return { ...(mapping as Omit<Mapping, 'data'>), data: Object.entries(data).map(dataFrom) }
}

function textFrom(from: Static<typeof Time>): TimeFrom {
  return typeof from === 'string' ? { column: from } : from
}

function dataFrom([name, from]: [string, Static<typeof DataField>]): DataFrom {
  const column = typeof from === 'string' ? from : from.column
  return { path: name.split('.'), column, type: (typeof from === 'string' ? undefined : from.type) ?? 'string' }
}

const ATTRIBUTES = ['id', 'source', 'type', 'subject', 'time'] as const
const DATA_PREFIX = 'data.'

/** Without a mapping: columns called as attributes are called, and `data.…`, of the types they seem to have. */
export function mappingOfColumns(columns: NonNullable<RowSource['columns']>): Mapping {
  const names = new Set(columns.map(({ name }) => name))
  const attributes = ATTRIBUTES.filter((name) => names.has(name)).map((name) => [name, { column: name }])
  const missing = (['type', 'subject'] as const).filter((name) => !names.has(name))
  const data = columns
    .filter(({ name }) => name.startsWith(DATA_PREFIX))
    .map(({ name, type }) => ({ path: name.slice(DATA_PREFIX.length).split('.'), column: name, type }))
  if (data.length === 0) missing.push(`${DATA_PREFIX}…` as 'type')
  if (missing.length > 0) {
    throw new InputError(`The file has no column ${missing.join(', ')}: say with --map where it comes from.`)
  }
  return { ...(Object.fromEntries(attributes) as Omit<Mapping, 'data'>), data }
}

/** Throws InputError for a mapping that this file, or a backfill, cannot have. */
export function checkMapping(mapping: Mapping, columns: RowSource['columns'], ownsSource: boolean): void {
  if (ownsSource && mapping.source) {
    throw new InputError('With --backfill every event has the source of the backfill: leave source out of the mapping.')
  }
  if (!ownsSource && !mapping.source) {
    throw new InputError('The mapping has no source: add one, such as "source": {"constant": "import"}.')
  }
  if (!columns) return
  const { data, ...attributes } = mapping
  const wanted = [...Object.values(attributes).flatMap(columnOf), ...data.map(({ column }) => column)]
  const unknown = wanted.find((column) => !columns.some(({ name }) => name === column))
  if (unknown === undefined) return
  const known = columns.map(({ name }) => name).join(', ')
  throw new InputError(`The mapping names the column ${unknown}, which the file does not have; it has ${known}.`)
}

function columnOf(from: TextFrom): string[] {
  return 'column' in from ? [from.column] : []
}
