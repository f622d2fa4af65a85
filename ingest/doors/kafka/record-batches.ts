/** A batch of records as it lies in a topic, not yet unpacked: the head says what it holds. */
export type RecordBatch = {
  firstOffset: number
  lastOffset: number
  /** The format that has headers; older ones are not read. */
  readable: boolean
  /** 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd. */
  compression: number
  transactional: boolean
  /** Not a producer's: it says how a transaction ended. */
  control: boolean
  producerId: bigint
  records: number
  body: Buffer
}

const BATCH_HEAD_BYTES = 12
const HEAD_BYTES = 61
const VERSION = 2
const COMPRESSION = 0b111
const TRANSACTIONAL = 1 << 4
const CONTROL = 1 << 5

/** The whole batches of what a broker answered; it cuts the last one where its answer is full. */
export function batchesIn(bytes: Buffer): RecordBatch[] {
  const batches: RecordBatch[] = []
  for (let at = 0; at + BATCH_HEAD_BYTES <= bytes.length; ) {
    const end = at + BATCH_HEAD_BYTES + bytes.readInt32BE(at + 8)
    if (end > bytes.length || end <= at + BATCH_HEAD_BYTES) break
    batches.push(batchOf(bytes.subarray(at, end)))
    at = end
  }
  return batches
}

function batchOf(bytes: Buffer): RecordBatch {
  const firstOffset = Number(bytes.readBigInt64BE(0))
  if (bytes.length < HEAD_BYTES || bytes.readInt8(16) !== VERSION) return unreadable(firstOffset, bytes)
  const attributes = bytes.readInt16BE(21)
  return {
    firstOffset,
    lastOffset: firstOffset + bytes.readInt32BE(23),
    readable: true,
    compression: attributes & COMPRESSION,
    transactional: (attributes & TRANSACTIONAL) !== 0,
    control: (attributes & CONTROL) !== 0,
    producerId: bytes.readBigInt64BE(43),
    records: bytes.readInt32BE(57),
    body: bytes.subarray(HEAD_BYTES),
  }
}

function unreadable(firstOffset: number, body: Buffer): RecordBatch {
  const nothing = { compression: 0, transactional: false, control: false, producerId: -1n, records: 0 }
  return { firstOffset, lastOffset: firstOffset, readable: false, ...nothing, body }
}

export type Aborted = { producerId: bigint; firstOffset: bigint }

/** The batches without those of transactions that were given up, and without those that only say how one ended. */
export function committedOf(batches: readonly RecordBatch[], aborted: readonly Aborted[]): Set<RecordBatch> {
  const waiting = [...aborted].sort((a, b) => Number(a.firstOffset - b.firstOffset))
  const givenUp = new Set<bigint>()
  const committed = new Set<RecordBatch>()
  for (const batch of batches) {
    while (waiting[0] && Number(waiting[0].firstOffset) <= batch.lastOffset)
      givenUp.add(waiting.shift()?.producerId ?? -1n)
    if (batch.control) givenUp.delete(batch.producerId)
    else if (!batch.transactional || !givenUp.has(batch.producerId)) committed.add(batch)
  }
  return committed
}

/** A record in the bytes of its batch: `bytes` counts its key and its headers too, which are not read yet. */
export type BatchRecord = { offset: number; bytes: number; value: Buffer; headers(): Map<string, string> }

/** The records of an unpacked batch, one at a time: a batch of the smallest ones would be a million objects. */
export function* recordsOf(batch: RecordBatch, unpacked: Buffer): Generator<BatchRecord> {
  const place = { bytes: unpacked, at: 0 }
  let last = batch.firstOffset - 1
  for (let record = 0; record < batch.records; record++) {
    const length = readVarint(place)
    const end = place.at + length
    if (length < 0 || end > unpacked.length) throw new Error('A record of the batch ends behind it')
    const record = readRecord(batch.firstOffset, { bytes: unpacked.subarray(0, end), at: place.at }, length)
    if (record.offset <= last || record.offset > batch.lastOffset)
      throw new Error('The offsets in the batch do not rise from its first to its last')
    yield record
    last = record.offset
    place.at = end
  }
}

/** How a batch's place in its bytes moves on. */
type Place = { bytes: Buffer; at: number }

function readRecord(firstOffset: number, place: Place, bytes: number): BatchRecord {
  place.at += 1 // attributes, which are not used
  skipVarint(place) // when it was made
  const offset = firstOffset + readVarint(place)
  readBytes(place) // its key
  const value = readBytes(place)
  return { offset, bytes, value, headers: () => readHeaders(place) }
}

/** Names in lower case; of two alike the last. */
function readHeaders(place: Place): Map<string, string> {
  const headers = new Map<string, string>()
  const count = readVarint(place)
  for (let header = 0; header < count; header++) {
    const name = readBytes(place).toString('utf8').toLowerCase()
    headers.set(name, readBytes(place).toString('utf8'))
  }
  return headers
}

/** Nothing and no bytes at all are the same here. */
function readBytes(place: Place): Buffer {
  const length = readVarint(place)
  if (length <= 0) return NOTHING
  const end = place.at + length
  if (end > place.bytes.length) throw new Error('A part of a record ends behind it')
  const bytes = place.bytes.subarray(place.at, end)
  place.at = end
  return bytes
}
const NOTHING = Buffer.alloc(0)

/** Zigzag, seven bits a byte, the lowest first, of 32 bits. */
function readVarint(place: Place): number {
  let value = 0
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = place.bytes[place.at++]
    if (byte === undefined) throw new Error('A number of a record ends behind it')
    value |= (byte & 0x7f) << shift
    if (byte < 0x80) return (value >>> 1) ^ -(value & 1)
  }
  throw new Error('A number of a record is too long')
}

function skipVarint(place: Place): void {
  while ((place.bytes[place.at++] ?? 0) >= 0x80);
}
