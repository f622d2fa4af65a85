import { crc32 } from 'node:zlib'

/** A frame is the length of its text in bytes, their CRC-32, both as four bytes little-endian, and the text as UTF-8. */
export const HEADER_BYTES = 8
const SMALLEST_TEXT_BYTES = 2
const LARGEST_TEXT_BYTES = 64 * 1024 * 1024

export function writeFrames(texts: readonly string[]): Buffer {
  const sizes = texts.map((text) => Buffer.byteLength(text))
  const bytes = Buffer.allocUnsafe(sizes.reduce((sum, size) => sum + HEADER_BYTES + size, 0))
  let at = 0
  for (const [index, text] of texts.entries()) {
    const size = sizes[index] ?? 0
    bytes.write(text, at + HEADER_BYTES, 'utf8')
    bytes.writeUInt32LE(size, at)
    bytes.writeUInt32LE(crc32(bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + size)), at + 4)
    at += HEADER_BYTES + size
  }
  return bytes
}

/** The texts up to the first frame that is not whole: what a kill or a full disk left behind it is cut. */
export function readFrames(bytes: Buffer): { texts: string[]; cutBytes: number } {
  const texts: string[] = []
  let at = 0
  while (at + HEADER_BYTES <= bytes.length) {
    const size = bytes.readUInt32LE(at)
    const end = at + HEADER_BYTES + size
    // Zeros, as some file systems leave them, would be a valid empty frame.
    if (size < SMALLEST_TEXT_BYTES || size > LARGEST_TEXT_BYTES || end > bytes.length) break
    const text = bytes.subarray(at + HEADER_BYTES, end)
    if (crc32(text) !== bytes.readUInt32LE(at + 4)) break
    texts.push(text.toString('utf8'))
    at = end
  }
  return { texts, cutBytes: bytes.length - at }
}
