import { createHash } from 'node:crypto'
import type { TenantId } from '../http/door.ts'
import { asciiOf } from './ascii.ts'

/** What makes an event the same event, over whatever door, however often and whenever it arrives. */
export type Identity = { tenant: TenantId; source: string; id: string }

/** Slices of id time are this wide: the events of one slice are rebuilt together. */
export const SHARD_SLICE_MS = 10_000
/** Ids without a time fall into this many shards by hash. */
const OPAQUE_SHARDS = 1_024
/** Room for hash buckets inside a slice; buckets are not used yet, so the low bits are 0. */
const BUCKETS_PER_SLICE = 4_096
/** Shards of opaque ids lie above every slice's: 2^48 > 2^29 slices × 2^12 buckets, and below 2^53. */
export const FIRST_OPAQUE_SHARD = 2 ** 48

const YEAR_2020_MS = Date.UTC(2020, 0, 1)
const YEAR_2100_MS = Date.UTC(2100, 0, 1)
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i
const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** A text that is different for different identities, for sets in memory. No part may contain a line break. */
export function identityKey(identity: Identity): string {
  return `${identity.tenant}\n${identity.source}\n${identity.id}`
}

/** The time inside a UUIDv7 or ULID, if it lies in 2020–2100; otherwise the id is opaque: undefined. */
export function idTimeMs(id: string): number | undefined {
  let timeMs: number | undefined
  if (id.length === 36) timeMs = uuidTimeMs(asciiOf(id))
  else if (id.length === 26 && ULID.test(id)) timeMs = ulidTimeMs(id)
  return timeMs !== undefined && timeMs >= YEAR_2020_MS && timeMs < YEAR_2100_MS ? timeMs : undefined
}

const DASH = 0x2d
/** What a byte is worth as a hex digit; more than 15 if it is none. */
const HEX = Uint8Array.from({ length: 256 }, (_, byte) => {
  const digit = '0123456789abcdef'.indexOf(String.fromCharCode(byte).toLowerCase())
  return digit < 0 ? 0xff : digit
})

/** The time of a UUIDv7, of either case: `tttttttt-tttt-7xxx-[89ab]xxx-xxxxxxxxxxxx`. */
function uuidTimeMs(bytes: Uint8Array | undefined): number | undefined {
  if (!bytes || bytes[8] !== DASH || bytes[13] !== DASH || bytes[18] !== DASH || bytes[23] !== DASH) return undefined
  if (bytes[14] !== 0x37 || ((HEX[bytes[19] ?? 0] ?? 0) & 0b1100) !== 0b1000) return undefined
  let seen = 0
  let timeMs = 0
  for (let at = 0; at < 36; at++) {
    if (at === 8 || at === 13 || at === 18 || at === 23) continue
    const digit = HEX[bytes[at] ?? 0] ?? 0
    seen |= digit
    if (at < 13) timeMs = timeMs * 16 + digit
  }
  return seen > 15 ? undefined : timeMs
}

function ulidTimeMs(id: string): number {
  let timeMs = 0
  for (const letter of id.slice(0, 10).toUpperCase()) timeMs = timeMs * 32 + CROCKFORD.indexOf(letter)
  return timeMs
}

/**
 * The shard of an identity: the ten-second slice of the time in its id, else a hash of the identity. It depends on
 * nothing else, so every copy lies in one shard, whatever time or payload it came with.
 */
export function shardOf(identity: Identity): number {
  return shardAt(idTimeMs(identity.id), identityKey(identity))
}

/** The log partition of an identity: a tenant is spread over all, copies of one identity meet in one. */
export function partitionOf(identity: Identity, partitions: number): number {
  return hashOf(beforeId(identity), identity.id) % partitions
}

/** All that follows from an identity, each found once: for the hot path. */
export type Located = { key: string; timeMs: number | undefined; shard: number; partition: number }
export function locate(identity: Identity, partitions: number): Located {
  const { id } = identity
  const before = beforeId(identity)
  const key = before.text + id
  const timeMs = idTimeMs(id)
  return { key, timeMs, shard: shardAt(timeMs, key), partition: hashOf(before, id) % partitions }
}

function shardAt(timeMs: number | undefined, key: string): number {
  if (timeMs !== undefined) return Math.floor(timeMs / SHARD_SLICE_MS) * BUCKETS_PER_SLICE
  return FIRST_OPAQUE_SHARD + (shaOf(key) % OPAQUE_SHARDS)
}

/** When no new id of a shard is to be expected any more; undefined for shards of opaque ids, which never close. */
export function shardClosesAtMs(shard: number): number | undefined {
  return shard >= FIRST_OPAQUE_SHARD ? undefined : (Math.floor(shard / BUCKETS_PER_SLICE) + 1) * SHARD_SLICE_MS
}

/** First 32 bits of SHA-256 of the key: exactness rests on it, so it is stable for ever, in any language. */
function shaOf(key: string): number {
  return createHash('sha256').update(key).digest().readUInt32BE(0)
}

/** What comes before the id in an identity's key, and its hash if it is ASCII: the same for events that come together. */
type Before = { tenant: TenantId; source: string; text: string; hash: number | undefined }

const OFFSET_BASIS = 0x811c9dc5
const PRIME = 0x01000193
let latest: Before = { tenant: Number.NaN, source: '', text: '', hash: undefined }

function beforeId({ tenant, source }: Identity): Before {
  if (source === latest.source && tenant === latest.tenant) return latest
  const text = `${tenant}\n${source}\n`
  latest = { tenant, source, text, hash: isAscii(text) ? hashText(OFFSET_BASIS, text) : undefined }
  return latest
}

/**
 * FNV-1a of the key, then MurmurHash3's finalizer, 32 bits: a twentieth of the cost of SHA-256. Keys beyond ASCII are
 * taken as the hex digits of their UTF-8. Whoever makes ids fall into one partition slows only himself. (Fowler, Noll,
 * Vo; Appleby: both in the public domain.)
 */
function hashOf({ text, hash: ofText }: Before, id: string): number {
  const bytes = ofText === undefined ? undefined : asciiOf(id)
  if (ofText === undefined || !bytes) return finish(hashText(OFFSET_BASIS, inAscii(text + id)))
  let hash = ofText
  for (let at = 0; at < id.length; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), PRIME)
  return finish(hash)
}

function isAscii(text: string): boolean {
  return Buffer.byteLength(text) === text.length
}

function inAscii(key: string): string {
  return isAscii(key) ? key : Buffer.from(key).toString('hex')
}

function hashText(from: number, text: string): number {
  let hash = from
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), PRIME)
  return hash
}

function finish(hashed: number): number {
  let hash = Math.imul(hashed ^ (hashed >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
