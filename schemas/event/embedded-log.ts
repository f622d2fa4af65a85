/**
 * How the embedded event log lies in LMDB; ingest writes it, the aggregator reads it, in one process.
 * Key [partition, offset]; value: the append time (8 bytes, ms, big endian), then the record's bytes.
 * One clock: `known_at` never runs back, over all partitions and restarts.
 */
export type EmbeddedLogKey = [partition: number, offset: number]

export const LOG_ID_KEY = 'log-id'

export function encodeLogValue(knownAtMs: number, record: Buffer): Buffer {
  const value = Buffer.allocUnsafe(8 + record.length)
  value.writeBigUInt64BE(BigInt(knownAtMs), 0)
  record.copy(value, 8)
  return value
}

export function decodeLogValue(value: Buffer): { knownAtMs: number; record: Buffer } {
  return { knownAtMs: Number(value.readBigUInt64BE(0)), record: value.subarray(8) }
}
