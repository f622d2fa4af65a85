import zlib from 'node:zlib'
import type { RecordBatch } from './record-batches.ts'

/** Why a batch cannot be unpacked: its records are rejected together. An Error must be a class to carry a stack. */
export class UnpackFault extends Error {
  readonly code: 'batch_too_large' | 'unsupported_compression' | 'unreadable_batch'
  constructor(code: UnpackFault['code'], message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
  }
}

/** What a batch may become: a compressed one says nothing about that itself. */
export const MOST_UNPACKED_BYTES = 16 * 1024 ** 2

const NONE = 0
const GZIP = 1
const ZSTD = 4
const NAMES = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const

type Inflate = (bytes: Buffer, options: zlib.ZlibOptions, done: (error: Error | null, result: Buffer) => void) => void
/** Node has it from 22.15 on; its types of 20 do not. */
const zstd = (zlib as unknown as { zstdDecompress?: Inflate }).zstdDecompress

/**
 * The records of a batch, unpacked within a bound that the unpacking itself keeps. Snappy and LZ4 have no such bound in
 * Node: their batches are refused, with what the producer may use instead.
 */
export async function unpack(batch: RecordBatch, mostBytes = MOST_UNPACKED_BYTES): Promise<Buffer> {
  if (!batch.readable) throw new UnpackFault('unreadable_batch', 'The batch has an old format, or none')
  if (batch.compression === NONE) return batch.body
  const inflate: Inflate | undefined = { [GZIP]: zlib.gunzip as Inflate, [ZSTD]: zstd }[batch.compression]
  if (!inflate) {
    const name = NAMES[batch.compression] ?? batch.compression
    const others = zstd ? 'none, gzip or zstd' : 'none or gzip'
    throw new UnpackFault('unsupported_compression', `The batch is compressed with ${name}: use ${others} instead`)
  }
  return new Promise((resolve, reject) => {
    inflate(batch.body, { maxOutputLength: mostBytes }, (error, bytes) => {
      if (!error) resolve(bytes)
      else if (error instanceof RangeError)
        reject(
          new UnpackFault('batch_too_large', `The batch is more than ${mostBytes} bytes when it is unpacked`, error),
        )
      else reject(new UnpackFault('unreadable_batch', `The batch cannot be unpacked: ${error.message}`, error))
    })
  })
}
