import avsc from 'avsc'
import { createValueReader } from './avro-values.ts'

/** How a record of one writer schema becomes an event. Names are those of the record's own fields. */
export type AvroMapping = {
  /** As it stands in the record's framing: producers' registry gave it. */
  id: number
  schema: unknown
  /** The event type that the record's data is of. */
  type: string
  /** Of events whose record has no field for it. */
  source?: string
  fields: { subject: string; id?: string; source?: string; time?: string; data?: string }
}

/** What a record says of its event; what it does not say is left out, or null. */
export type AvroEvent = { id?: unknown; source?: unknown; subject?: unknown; time?: unknown; data: unknown }

/**
 * Reads records of one schema. The schema and the bytes come from outside: only for a thread with bounded memory and
 * time. Throws where either is not well formed, an AvroFault for bytes.
 */
export function createAvroReader({
  schema,
  fields,
}: Pick<AvroMapping, 'schema' | 'fields'>): (bytes: Uint8Array) => AvroEvent {
  const { type, read } = createValueReader(schema)
  if (!(type instanceof avsc.types.RecordType)) throw new Error('must be a record')
  const { data: dataField, ...attributes } = fields
  const named = Object.entries(attributes)
  const known = new Set(type.fields.map((field) => field.name))
  for (const [attribute, name] of Object.entries(fields)) {
    if (!known.has(name)) throw new Error(`has no field ${name}, which is to be the ${attribute}`)
  }
  const unit = fields.time === undefined ? undefined : timeUnitOf(schema, fields.time)
  return (bytes) => {
    const record = read(bytes) as Record<string, unknown>
    const event: AvroEvent = { data: dataField === undefined ? withoutFields(record, named) : record[dataField] }
    for (const [attribute, name] of named) {
      const value = record[name]
      event[attribute as keyof typeof attributes] = attribute === 'time' ? timeOf(value, unit) : textOf(value)
    }
    return event
  }
}

/** What was said of the event is not said again in its data. */
function withoutFields(record: Record<string, unknown>, named: readonly [string, string][]): Record<string, unknown> {
  const taken = new Set(named.map(([, name]) => name))
  return Object.fromEntries(Object.entries(record).filter(([name]) => !taken.has(name)))
}

/** Ids and subjects are often numbers. */
function textOf(value: unknown): unknown {
  return typeof value === 'number' ? String(value) : value
}

const UNITS_PER_MS: Readonly<Record<string, number>> = { 'timestamp-millis': 1, 'timestamp-micros': 1_000 }
const LATEST_MS = 8.64e15

/** A number without a unit stays one, and is refused: nobody guesses what it counts. */
function timeOf(value: unknown, perMs: number | undefined): unknown {
  if (typeof value !== 'number' || perMs === undefined) return value
  const ms = Math.floor(value / perMs)
  return Math.abs(ms) <= LATEST_MS ? new Date(ms).toISOString() : value
}

/** How many of a field's units make a millisecond; the field may be one of a union with null. */
function timeUnitOf(schema: unknown, name: string): number | undefined {
  const { fields } = schema as { fields: { name: string; type: unknown }[] }
  const type = fields.find((field) => field.name === name)?.type
  for (const branch of Array.isArray(type) ? type : [type]) {
    const { logicalType } = (typeof branch === 'object' && branch !== null ? branch : {}) as { logicalType?: unknown }
    if (typeof logicalType === 'string' && Object.hasOwn(UNITS_PER_MS, logicalType)) return UNITS_PER_MS[logicalType]
  }
  return undefined
}
