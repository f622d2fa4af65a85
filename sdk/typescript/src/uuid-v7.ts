export type FillRandom = (bytes: Uint8Array) => void

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const POOL_BYTES = 2_048
const BYTES_AN_ID = 6
const BYTES_A_SEED = 4
/** A memory image that was taken and started twice must not draw the same numbers twice. */
const POOL_LIVES_MS = 1_000
const COUNTER_END = 2 ** 26
/** A clock set back by more is followed: an id with a time far ahead would be refused. */
const MOST_BACK_MS = 10_000

/**
 * Ids of RFC 9562 version 7 that grow: 48 bits of milliseconds, a counter of 26 bits that begins at random in each
 * millisecond (rand_a and the 14 bits after the variant), 48 random bits. A counter that is used up borrows from the next
 * millisecond.
 */
export function createUuidV7(wallMs: () => number, fillRandom: FillRandom): (nowMs?: number) => string {
  const pool = new Uint8Array(POOL_BYTES)
  let used = POOL_BYTES
  let pooledMs = 0
  let timeMs = -1
  let counter = 0
  let prefix = ''

  const take = (count: number): number => {
    if (used + count > POOL_BYTES) {
      fillRandom(pool)
      used = 0
    }
    const start = used
    used += count
    return start
  }
  const begin = (ms: number) => {
    timeMs = ms
    prefix = timePrefix(ms)
    const at = take(BYTES_A_SEED)
    // The highest bit is left free, so that a millisecond has room for 33 million ids at least.
    const drawn = (byteAt(pool, at) << 24) | (byteAt(pool, at + 1) << 16) | (byteAt(pool, at + 2) << 8)
    counter = (drawn | byteAt(pool, at + 3)) >>> 7
  }

  return (nowMs = wallMs()) => {
    if (Math.abs(nowMs - pooledMs) > POOL_LIVES_MS) {
      used = POOL_BYTES
      pooledMs = nowMs
    }
    if (nowMs > timeMs || nowMs < timeMs - MOST_BACK_MS) begin(nowMs)
    else if (++counter === COUNTER_END) begin(timeMs + 1)
    const at = take(BYTES_AN_ID)
    const high = counter >>> 14
    const low = counter & 0x3fff
    return (
      `${prefix}7${HEX[high >>> 8]?.charAt(1)}${HEX[high & 255]}-${HEX[0x80 | (low >>> 8)]}${HEX[low & 255]}-` +
      hexOf(pool, at) +
      hexOf(pool, at + 1) +
      hexOf(pool, at + 2) +
      hexOf(pool, at + 3) +
      hexOf(pool, at + 4) +
      hexOf(pool, at + 5)
    )
  }
}

/** From the platform's cryptographic generator. */
export const systemRandom: FillRandom = (bytes) => {
  crypto.getRandomValues(bytes)
}

function timePrefix(ms: number): string {
  const hex = ms.toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-`
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0
}

function hexOf(bytes: Uint8Array, at: number): string {
  return HEX[byteAt(bytes, at)] ?? ''
}
