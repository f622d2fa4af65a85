import { createHash } from 'node:crypto'
import type { TenantId } from '../http/door.ts'

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
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i
const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** A text that is different for different identities, for sets in memory. No part may contain a line break. */
export function identityKey(identity: Identity): string {
  return `${identity.tenant}\n${identity.source}\n${identity.id}`
}

/** The time inside a UUIDv7 or ULID, if it lies in 2020–2100; otherwise the id is opaque: undefined. */
export function idTimeMs(id: string): number | undefined {
  let timeMs: number | undefined
  if (UUID_V7.test(id)) timeMs = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
  else if (ULID.test(id)) timeMs = ulidTimeMs(id)
  return timeMs !== undefined && timeMs >= YEAR_2020_MS && timeMs < YEAR_2100_MS ? timeMs : undefined
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
  return quickHash(identityKey(identity)) % partitions
}

/** All that follows from an identity, each found once: for the hot path. */
export type Located = { key: string; timeMs: number | undefined; shard: number; partition: number }
export function locate(identity: Identity, partitions: number): Located {
  const key = identityKey(identity)
  const timeMs = idTimeMs(identity.id)
  return { key, timeMs, shard: shardAt(timeMs, key), partition: quickHash(key) % partitions }
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

/**
 * FNV-1a, then MurmurHash3's finalizer, 32 bits: a twentieth of the cost of SHA-256. Keys beyond ASCII are taken as the
 * hex digits of their UTF-8. Whoever makes ids fall into one partition slows only himself. (Fowler, Noll, Vo; Appleby:
 * both in the public domain.)
 */
function quickHash(key: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < key.length; at++) {
    const unit = key.charCodeAt(at)
    if (unit > 0x7f) return quickHash(Buffer.from(key).toString('hex'))
    hash = Math.imul(hash ^ unit, 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
