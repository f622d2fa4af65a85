import { hash } from 'node:crypto'
import type { TenantId } from '../../schemas/http/door.ts'
import { MARK_TTL_MS } from './quota-marks.lua.ts'
import type { QuotaItem } from './quota-store.ts'

/** Items in a row whose marks lie together: in the set `key` if there is one, else in the rotating sets. */
export type Run = {
  key: string | undefined
  /** New marks are written to `key`; otherwise they are looked for there, and written to the rotating set. */
  writes: boolean
  items: number
}

/** Ids that begin with their time: how long they are, and the digits that tell `widthMs` apart. */
type Form = { idLength: number; digits: number; widthMs: number; digitsOf: (slice: number) => string }
type Slice = { idLength: number; digits: string; writes: boolean }

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
/** 48 bits of milliseconds in hex: nine of twelve digits, and the hyphen after the eighth, change every 4.1 s. */
const UUID_V7: Form = {
  idLength: 36,
  digits: 10,
  widthMs: 2 ** 12,
  digitsOf: (slice) => {
    const digits = slice.toString(16).padStart(9, '0')
    return `${digits.slice(0, 8)}-${digits.slice(8)}`
  },
}
/** 50 bits of milliseconds, five a digit: seven of ten digits change every 32.8 s. */
const ULID: Form = {
  idLength: 26,
  digits: 7,
  widthMs: 2 ** 15,
  digitsOf: (slice) =>
    Array.from({ length: 7 }, (_, place) => CROCKFORD.charAt(Math.floor(slice / 32 ** (6 - place)) % 32)).join(''),
}

/** A set takes marks while its time is so near: without an end it would grow for ever if an emitter's clock stands. */
const WRITES_WITHIN_MS = MARK_TTL_MS
/** Such a mark stands for as long again, and the clocks of ingest processes may differ by ten minutes. */
const LOOKS_WITHIN_MS = WRITES_WITHIN_MS + MARK_TTL_MS + 10 * 60_000
const LINE_BREAK = 10

/**
 * Where the marks of items lie. An id that begins with its time has its mark in a small set of that time, found again
 * from the id alone; the others, and ids far from now, in two sets that rotate. A small set is quick to look into and
 * to free, where one of millions misses the processor's caches at every mark.
 */
export function runsOf(tenant: TenantId, items: readonly QuotaItem[], nowMs: number): Run[] {
  const slices = slicesAround(nowMs)
  const runs: Run[] = []
  let run: Run | undefined
  let slice: Slice | undefined
  for (const { identity } of items) {
    if (!run || !slice || !isIn(identity, slice)) {
      slice = sliceOf(identity, slices)
      const key = slice && `quota:{${tenant}}:seen:${slice.digits}`
      if (!run || run.key !== key) {
        run = { key, writes: slice?.writes ?? false, items: 0 }
        runs.push(run)
      }
    }
    run.items++
  }
  return runs
}

/** The two sets that rotate: their names are no digits of a time. */
export function rotatingSets(tenant: TenantId): [newMarks: string, oldMarks: string] {
  return [`quota:{${tenant}}:seen:new`, `quota:{${tenant}}:seen:old`]
}

function isIn(identity: string, { idLength, digits }: Slice): boolean {
  const start = identity.length - idLength
  return identity.startsWith(digits, start) && identity.charCodeAt(start - 1) === LINE_BREAK
}

/** An id of the right length whose first digits are a time near now: whatever else it is, it is found there again. */
function sliceOf(identity: string, slices: ReadonlyMap<string, Slice>): Slice | undefined {
  for (const { idLength, digits } of [UUID_V7, ULID]) {
    const start = identity.length - idLength
    if (identity.charCodeAt(start - 1) === LINE_BREAK) return slices.get(identity.slice(start, start + digits))
  }
  return undefined
}

let latest: { slot: number; slices: ReadonlyMap<string, Slice> } | undefined

function slicesAround(nowMs: number): ReadonlyMap<string, Slice> {
  const slot = Math.floor(nowMs / UUID_V7.widthMs)
  if (latest?.slot !== slot) latest = { slot, slices: new Map([...slicesOf(UUID_V7, nowMs), ...slicesOf(ULID, nowMs)]) }
  return latest.slices
}

function slicesOf({ idLength, widthMs, digitsOf }: Form, nowMs: number): [string, Slice][] {
  const now = Math.floor(nowMs / widthMs)
  const written = Math.ceil(WRITES_WITHIN_MS / widthMs)
  const looked = Math.ceil(LOOKS_WITHIN_MS / widthMs)
  return Array.from({ length: 2 * looked + 1 }, (_, place) => {
    const away = place - looked
    const digits = digitsOf(now + away)
    return [digits, { idLength, digits, writes: Math.abs(away) <= written }]
  })
}

/** Most identities are shorter than this, and a hash would cost more than their bytes do in 15 minutes. */
const LONGEST_PLAIN = 100

/** The marks one after another, each after its length: an argument each would cost twice as much. */
export function packMarks(items: readonly QuotaItem[]): string {
  let packed = ''
  for (const { identity } of items) packed += identity.length <= LONGEST_PLAIN ? plain(identity) : hashed(identity)
  // The script counts bytes, and characters are counted here: an identity beyond ASCII is hashed.
  if (Buffer.byteLength(packed) === packed.length) return packed
  const isPlain = (identity: string) =>
    identity.length <= LONGEST_PLAIN && Buffer.byteLength(identity) === identity.length
  return items.map(({ identity }) => (isPlain(identity) ? plain(identity) : hashed(identity))).join('')
}

function plain(identity: string): string {
  return String.fromCharCode(identity.length) + identity
}

/** 128 bits of SHA-256. An identity holds line breaks and a hash does not: the two forms never meet. */
function hashed(identity: string): string {
  return plain(hash('sha256', identity, 'base64url').slice(0, 22))
}
