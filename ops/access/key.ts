import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const KEY = /^tly_([0-9A-Za-z]{11})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})$/
/** Lengths that hold 8, 32 and 4 bytes in base 62. */
const PUBLIC_ID_LENGTH = 11
const SECRET_LENGTH = 43
const CHECKSUM_LENGTH = 6

export type NewKey = { key: string; publicId: string; sha256: Buffer }

/** A new key `tly_<public id>_<secret>_<checksum>`. The text is shown once; only its SHA-256 is stored. */
export function generateKey(randomBytes: (size: number) => Uint8Array): NewKey {
  const publicId = base62(randomBytes(8), PUBLIC_ID_LENGTH)
  const body = `tly_${publicId}_${base62(randomBytes(32), SECRET_LENGTH)}`
  const key = `${body}_${checksum(body)}`
  return { key, publicId, sha256: hashKey(key) }
}

/**
 * The public id of a well-formed key. The checksum spares the database the look-ups of mistyped keys; it proves
 * nothing, the SHA-256 does.
 */
export function parseKey(text: string): { publicId: string } | undefined {
  const [, publicId, secret, sum] = KEY.exec(text) ?? []
  if (publicId === undefined || secret === undefined) return undefined
  return checksum(`tly_${publicId}_${secret}`) === sum ? { publicId } : undefined
}

/** The secret has 256 random bits, so a plain hash is enough: nothing to guess, and cheap on the hot path. */
export function hashKey(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}

function checksum(text: string): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(text))
  return base62(bytes, CHECKSUM_LENGTH)
}

function base62(bytes: Uint8Array, length: number): string {
  let rest = BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
  let text = ''
  while (text.length < length) {
    text = DIGITS.charAt(Number(rest % 62n)) + text
    rest /= 62n
  }
  return text
}
