import type { InputRecord, RecordFault } from './input.ts'
import { type Aborted, batchesIn, committedOf, type RecordBatch, recordsOf } from './record-batches.ts'
import { UnpackFault, unpack } from './unpack.ts'

/** Records, or one, that cannot be read at all. */
export type PlacedFault = RecordFault & { offset: number; lastOffset: number; value: Buffer }
/** What is taken at once of a partition: everything from `first` on and before `next`. */
export type Portion = { first: number; next: number; records: InputRecord[]; faults: PlacedFault[] }

export const PORTION = { records: 250, bytes: 1_048_576 } as const
/** A larger record is not read: Kafka's own bound for a batch, as brokers come. */
export const MOST_RECORD_BYTES = 1_048_576

/** What a broker answered, from an offset on, in portions; each record is in one of them, or in a fault. */
export async function* portionsOf(
  { bytes, aborted }: { bytes: Buffer; aborted: readonly Aborted[] },
  from: number,
): AsyncGenerator<Portion> {
  const batches = batchesIn(bytes)
  const committed = committedOf(batches, aborted)
  let portion = empty(from)
  let held = 0
  for (const batch of batches) {
    if (batch.lastOffset < portion.next) continue
    for await (const read of committed.has(batch) ? readBatch(batch, portion.next) : []) {
      held += add(portion, read)
      if (portion.records.length < PORTION.records && held < PORTION.bytes) continue
      yield portion
      portion = empty(portion.next)
      held = 0
    }
    // Also where records were removed, or say nothing to us.
    portion.next = batch.lastOffset + 1
  }
  if (portion.next > portion.first) yield portion
}

function empty(first: number): Portion {
  return { first, next: first, records: [], faults: [] }
}

/** The bytes that it holds. */
function add(portion: Portion, read: InputRecord | PlacedFault): number {
  if ('code' in read) {
    portion.faults.push(read)
    portion.next = read.lastOffset + 1
    return 0
  }
  portion.records.push(read)
  portion.next = read.offset + 1
  return read.value.length
}

/** What cannot be read of it is one fault, up to its end. */
async function* readBatch(batch: RecordBatch, from: number): AsyncGenerator<InputRecord | PlacedFault> {
  let next = Math.max(batch.firstOffset, from)
  try {
    for (const record of recordsOf(batch, await unpack(batch))) {
      // A batch comes whole, also when only its end was asked for.
      if (record.offset < next) continue
      next = record.offset + 1
      yield record.value.length > MOST_RECORD_BYTES ? tooLarge(record) : record
    }
  } catch (error) {
    const known = error instanceof UnpackFault
    const code = known ? error.code : 'unreadable_batch'
    const message = error instanceof Error ? error.message : 'The batch cannot be read'
    yield { code, path: '', message, offset: next, lastOffset: batch.lastOffset, value: batch.body }
  }
}

function tooLarge({ offset, value }: InputRecord): PlacedFault {
  const message = `The record has ${value.length} bytes, and ${MOST_RECORD_BYTES} are read at most`
  return { code: 'record_too_large', path: '', message, offset, lastOffset: offset, value }
}
