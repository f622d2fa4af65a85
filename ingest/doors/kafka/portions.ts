import { excerptOf, type InputRecord, type RecordFault } from './input.ts'
import {
  type Aborted,
  type BatchRecord,
  batchesIn,
  committedOf,
  type RecordBatch,
  recordsOf,
} from './record-batches.ts'
import { UnpackFault, unpack } from './unpack.ts'

/** Records, or one, that cannot be read at all. */
export type PlacedFault = RecordFault & { offset: number; lastOffset: number; excerpt: Buffer; valueBytes: number }
/** What is taken at once of a partition: everything from `first` on and before `next`. */
export type Portion = { first: number; next: number; records: InputRecord[]; faults: PlacedFault[] }

/** Faults count as records; bytes are those of whole records, with keys and headers. */
export const PORTION = { records: 250, bytes: 1_048_576 } as const
/** A larger record, with its key and headers, is not read: Kafka's own bound for a batch, as brokers come. */
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
      const count = portion.records.length + portion.faults.length
      if (count < PORTION.records && held < PORTION.bytes) continue
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

/** A portion up to an offset, and what is left of it. */
export function splitPortion(portion: Portion, at: number): { taken: Portion; rest: Portion } {
  const part = (is: (offset: number) => boolean) => ({
    records: portion.records.filter(({ offset }) => is(offset)),
    faults: portion.faults.filter(({ offset }) => is(offset)),
  })
  return {
    taken: { first: portion.first, next: at, ...part((offset) => offset < at) },
    rest: { first: at, next: portion.next, ...part((offset) => offset >= at) },
  }
}

type SizedRecord = { record: InputRecord; bytes: number }

/** The bytes that it holds. */
function add(portion: Portion, read: SizedRecord | PlacedFault): number {
  if ('code' in read) {
    portion.faults.push(read)
    portion.next = read.lastOffset + 1
    return read.excerpt.length
  }
  portion.records.push(read.record)
  portion.next = read.record.offset + 1
  return read.bytes
}

/** What cannot be read of it is one fault, up to its end. */
async function* readBatch(batch: RecordBatch, from: number): AsyncGenerator<SizedRecord | PlacedFault> {
  let next = Math.max(batch.firstOffset, from)
  try {
    for (const record of recordsOf(batch, await unpack(batch))) {
      // A batch comes whole, also when only its end was asked for.
      if (record.offset < next) continue
      yield record.bytes > MOST_RECORD_BYTES ? tooLarge(record) : sized(batch, record)
      next = record.offset + 1
    }
  } catch (error) {
    const known = error instanceof UnpackFault
    const code = known ? error.code : 'unreadable_batch'
    const message = error instanceof Error ? error.message : 'The batch cannot be read'
    // What stands behind the last record is no record, and still not passed over in silence.
    const offset = Math.min(next, batch.lastOffset)
    yield { code, path: '', message, offset, lastOffset: batch.lastOffset, ...excerptOf(batch.body) }
  }
}

/** What was unpacked is let go with its batch: a small value would keep 16 MiB of it. */
function sized({ compression }: RecordBatch, { offset, bytes, value, headers }: BatchRecord): SizedRecord {
  const own = compression === 0 ? value : Buffer.from(value)
  return { record: { offset, value: own, headers: headers() }, bytes }
}

function tooLarge({ offset, bytes, value }: BatchRecord): PlacedFault {
  const message = `The record has ${bytes} bytes, and ${MOST_RECORD_BYTES} are read at most`
  return { code: 'record_too_large', path: '', message, offset, lastOffset: offset, ...excerptOf(value) }
}
