import type { AvroDecoder } from './avro-decoder.ts'
import type { AvroEvent } from './avro-event.ts'
import type { InputPlace, InputRecord, RecordFault, TenantInput } from './input.ts'
import { readJsonRecord } from './json-record.ts'
import { unframe } from './wire-format.ts'

/** A record, and the events that it holds, not yet checked; or why it holds none. */
export type ReadRecord = { offset: number; value: Buffer; result: { events: unknown[] } | RecordFault }

/** Reads records in the input's format. Rejects only for what is no record's fault. */
export async function readRecords(
  input: TenantInput,
  place: InputPlace,
  records: readonly InputRecord[],
  decoder: AvroDecoder | undefined,
): Promise<ReadRecord[]> {
  if (decoder) return readAvroRecords(input, place, records, decoder)
  const read: ReadRecord[] = []
  for (const record of records) {
    read.push({ offset: record.offset, value: record.value, result: await readJsonRecord(record) })
  }
  return read
}

const NOT_FRAMED: RecordFault = {
  code: 'not_framed',
  path: '',
  message: 'The record does not begin with a zero and a schema id of four bytes, as serializers for Avro write it',
}

async function readAvroRecords(
  input: TenantInput,
  place: InputPlace,
  records: readonly InputRecord[],
  decoder: AvroDecoder,
): Promise<ReadRecord[]> {
  const known = new Set(input.schemas.map(({ id }) => id))
  const framed = records.map((record) => {
    const frame = unframe(record.value)
    if (!frame) return { record, fault: NOT_FRAMED }
    return known.has(frame.schemaId) ? { record, frame } : { record, fault: unknownSchema(frame.schemaId) }
  })
  const wanted = framed.flatMap(({ frame }) => frame ?? [])
  const decoded = wanted.length === 0 ? [] : await decoder.decode(wanted)
  let next = 0
  return framed.map(({ record: { offset, value }, frame, fault }) => {
    if (!frame) return { offset, value, result: fault }
    const outcome = decoded[next++]
    if (!outcome) throw new Error('The decoder of Avro gave fewer outcomes than it got records')
    if ('code' in outcome) return { offset, value, result: { ...outcome, path: '' } }
    const id = `${place.topicId}/${place.partition}/${offset}`
    return { offset, value, result: { events: [eventOf(input, frame.schemaId, id, outcome.json)] } }
  })
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
