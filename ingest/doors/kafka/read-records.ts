import type { AvroDecoder } from './avro-decoder.ts'
import type { AvroEvent } from './avro-event.ts'
import type { InputPlace, InputRecord, RecordFault, TenantInput } from './input.ts'
import { readJsonRecord } from './json-record.ts'
import { unframe } from './wire-format.ts'

type Reading = { events: unknown[] } | RecordFault

/** A record whose events are read when there is room for them: of as many bytes of JSON, and not yet checked. */
export type ReadableRecord = { offset: number; value: Buffer; jsonBytes: number; read(): Promise<Reading> }

/**
 * The first records, or all, in the input's format: no more than may be read at once, though a few bytes of Avro can be
 * many of JSON. Rejects only for what is no record's fault.
 */
export async function readableRecords(
  input: TenantInput,
  place: InputPlace,
  records: readonly InputRecord[],
  decoder: AvroDecoder | undefined,
): Promise<ReadableRecord[]> {
  if (decoder) return readableAvroRecords(input, place, records, decoder)
  return records.map((record) => {
    const { offset, value } = record
    return { offset, value, jsonBytes: value.length, read: () => readJsonRecord(record) }
  })
}

const NOT_FRAMED: RecordFault = {
  code: 'not_framed',
  path: '',
  message: 'The record does not begin with a zero and a schema id of four bytes, as serializers for Avro write it',
}

async function readableAvroRecords(
  input: TenantInput,
  place: InputPlace,
  records: readonly InputRecord[],
  decoder: AvroDecoder,
): Promise<ReadableRecord[]> {
  const known = new Set(input.schemas.map(({ id }) => id))
  const framed = records.map((record) => {
    const frame = unframe(record.value)
    if (!frame) return { record, fault: NOT_FRAMED }
    return known.has(frame.schemaId) ? { record, frame } : { record, fault: unknownSchema(frame.schemaId) }
  })
  const wanted = framed.flatMap(({ frame }) => frame ?? [])
  const decoded = wanted.length === 0 ? [] : await decoder.decode(wanted)
  if (wanted.length > 0 && decoded.length === 0) throw new Error('The decoder of Avro gave no outcome')
  const readable: ReadableRecord[] = []
  let next = 0
  for (const { record, frame, fault } of framed) {
    const { offset, value } = record
    if (!frame) {
      readable.push({ offset, value, jsonBytes: 0, read: async () => fault })
      continue
    }
    const outcome = decoded[next++]
    if (!outcome) break
    if ('code' in outcome) {
      readable.push({ offset, value, jsonBytes: 0, read: async () => ({ ...outcome, path: '' }) })
      continue
    }
    const { json } = outcome
    const id = `${place.topicId}/${place.partition}/${offset}`
    const read = async () => ({ events: [eventOf(input, frame.schemaId, id, json)] })
    readable.push({ offset, value, jsonBytes: json.length, read })
  }
  return readable
}

/** The list is the tenant's own: no registry is asked. */
function unknownSchema(schemaId: number): RecordFault {
  return { code: 'unknown_schema', path: '', message: `The schema id ${schemaId} is not on the list of this input` }
}

/** A schema that has no field for the id leaves the record's place: written again, the event is another one. */
function eventOf(input: TenantInput, schemaId: number, placeId: string, json: string): Record<string, unknown> {
  const mapping = input.schemas.find(({ id }) => id === schemaId)
  const { id, source, subject, time, data } = JSON.parse(json) as AvroEvent
  return {
    id: mapping?.fields.id === undefined ? placeId : id,
    source: source ?? mapping?.source ?? `kafka:${input.topic}`,
    type: mapping?.type,
    subject,
    time,
    data,
  }
}
