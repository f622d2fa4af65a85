import { parentPort, workerData } from 'node:worker_threads'
import { type AvroMapping, createAvroReader } from './avro-event.ts'
import { AvroFault } from './avro-values.ts'
import { MOST_ANSWER_LENGTH } from './wire-format.ts'

/** What a record came to: an event as JSON text, or why it is none. */
export type Decoded = { json: string } | { fault: string; tooLarge?: boolean }
export type FramedRecord = { schemaId: number; payload: Uint8Array }
/** The first message of the thread: what is wrong with the schemas, by place in the list. */
export type Readiness = { faults: { index: number; message: string }[] }

/** An event's data may have 262,144 bytes. */
const MOST_JSON_LENGTH = 300_000
const MOST_MESSAGE_LENGTH = 300

const readers = new Map<number, ReturnType<typeof createAvroReader>>()
const readiness: Readiness = { faults: [] }
for (const [index, mapping] of (JSON.parse(workerData as string) as AvroMapping[]).entries()) {
  try {
    readers.set(mapping.id, createAvroReader(mapping))
  } catch (error) {
    readiness.faults.push({ index, message: messageOf(error) })
  }
}
parentPort?.postMessage(readiness)
parentPort?.on('message', (records: FramedRecord[]) => parentPort?.postMessage(decodeFirst(records)))

/** Of the first records, or of all: what the thread holds stays far below its cap. */
function decodeFirst(records: readonly FramedRecord[]): Decoded[] {
  const answer: Decoded[] = []
  let length = 0
  for (const record of records) {
    const decoded = decode(record)
    answer.push(decoded)
    length += 'json' in decoded ? decoded.json.length : 0
    if (length >= MOST_ANSWER_LENGTH) break
  }
  return answer
}

function decode({ schemaId, payload }: FramedRecord): Decoded {
  const read = readers.get(schemaId)
  if (!read) return { fault: `has the schema id ${schemaId}, which is not one of this input` }
  try {
    const json = JSON.stringify(read(payload))
    if (json.length <= MOST_JSON_LENGTH) return { json }
    return { fault: `is more than ${MOST_JSON_LENGTH} characters as JSON`, tooLarge: true }
  } catch (error) {
    return { fault: messageOf(error), tooLarge: error instanceof AvroFault && error.tooLarge }
  }
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, MOST_MESSAGE_LENGTH)
}
