import avsc from 'avsc'
import { schemaFile } from '../files.ts'
import { encodeLong, type UsageEvent } from './usage-event.ts'

const batchSchema = JSON.parse(schemaFile('event/usage-batch.avsc')) as avsc.Schema
const batchType = avsc.Type.forSchema(batchSchema)

/**
 * The row that ClickHouse reads: where a log record stands and the record's own bytes. Avro has no framing inside
 * a record, so the position's bytes followed by the batch's bytes are exactly one value of this schema.
 */
const rowSchema = {
  type: 'record',
  name: 'LogRow',
  fields: [
    { name: 'known_at', type: 'long' },
    { name: 'partition', type: 'int' },
    { name: 'offset', type: 'long' },
    { name: 'batch', type: batchSchema },
  ],
}

/** A UsageBatch made of encoded events: `count`, then the array as one block (none when it is empty) and its end. */
export function encodeBatch(encodedEvents: readonly Buffer[]): Buffer {
  const count = encodeLong(encodedEvents.length)
  const block = encodedEvents.length > 0 ? [count, ...encodedEvents] : []
  return Buffer.concat([count, ...block, END_OF_ARRAY])
}
const END_OF_ARRAY = Buffer.from([0])

/** Decodes a batch of our own log. Never for bytes from outside: the decoder trusts counts. */
export function decodeBatch(bytes: Buffer): UsageEvent[] {
  const batch = batchType.fromBuffer(bytes) as { events: (Omit<UsageEvent, 'timeMs' | 'timeGiven'> & WireTime)[] }
  return batch.events.map(({ time, time_given, ...same }) => ({ ...same, timeMs: time, timeGiven: time_given }))
}
type WireTime = { time: number; time_given: boolean }

/** One log record with its place. */
export type LogRow = { knownAtMs: number; partition: number; offset: number; batch: Buffer }

const SYNC_MARKER = Buffer.from('tallyline-marker')
const ONE_ROW = encodeLong(1)
const FILE_HEADER = fileHeader()

/**
 * An Avro object container file of log rows: framing only, the batches' bytes are passed on undecoded. Each row is a
 * block of its own, so that a batch that is damaged cannot be read on into the next one. `room` gives the memory.
 */
export function encodeLogRows(
  rows: readonly LogRow[],
  room: (bytes: number) => Buffer = (bytes) => Buffer.allocUnsafeSlow(bytes),
): Buffer {
  const parts: Buffer[] = [FILE_HEADER]
  for (const row of rows) {
    const place = [encodeLong(row.knownAtMs), encodeLong(row.partition), encodeLong(row.offset)]
    const bytes = place.reduce((sum, part) => sum + part.length, row.batch.length)
    parts.push(ONE_ROW, encodeLong(bytes), ...place, row.batch, SYNC_MARKER)
  }
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const file = room(length)
  let at = 0
  for (const part of parts) at += part.copy(file, at)
  return file.subarray(0, length)
}

function fileHeader(): Buffer {
  const metadata = avsc.Type.forSchema({ type: 'map', values: 'bytes' }).toBuffer({
    'avro.schema': Buffer.from(JSON.stringify(rowSchema)),
    'avro.codec': Buffer.from('null'),
  })
  return Buffer.concat([Buffer.from('Obj\x01'), metadata, SYNC_MARKER])
}
