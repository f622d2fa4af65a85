import { timingSafeEqual } from 'node:crypto'
import type { Pool } from 'pg'
import type { Caller, TenantId } from '../../schemas/http/door.ts'
import { isPermission, OPERATOR_PERMISSIONS, SCOPED_PERMISSIONS } from '../../schemas/http/permissions.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { hashKey, parseKey } from './key.ts'
import { findApiKey, type StoredKey } from './keys.postgres.ts'

export type Authenticator = {
  /** The caller of an `Authorization` header, or undefined when it carries no valid key. */
  authenticate(header: string | undefined): Promise<Caller | undefined>
  /** The keys of this tenant (of all tenants without one) are looked up anew before their next use. */
  invalidate(tenantId?: TenantId): void
}

export type AuthenticatorOptions = {
  pool: Pool
  /** Milliseconds; may be monotonic. */
  now: () => number
  /** A key is looked up anew after at most this long. Below 10 s by default, so that a revoked key dies in time. */
  cacheMs?: number
  /** A look-up that takes longer counts as Postgres being away. */
  lookupMs?: number
  maxEntries?: number
}

type Entry = { caller: Caller; publicId: string; refreshAt: number; staleAt: number }
type Cache = {
  known: Map<string, Entry>
  refused: Map<string, number>
  pending: Map<string, Promise<Caller | undefined>>
  /** Counts invalidations: a look-up that began before one is not trusted after it. */
  epoch: number
}
type Settings = Required<AuthenticatorOptions>

const REFUSED_MS = 1_000
const MAX_REFUSED = 1_000
/** Unknown keys waiting for Postgres: beyond this a flood of invented keys is shed instead of queued. */
const MAX_PENDING = 200

/**
 * Bearer keys, cached by the raw header: the hot path is one Map look-up. An entry in use is refreshed behind the
 * requests from half its life on; only one that outlived it makes a request wait. When Postgres is away, keys already
 * known go on working, for there is nobody to ask whether they were revoked, and unknown keys get 503.
 */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const settings: Settings = { cacheMs: 8_000, lookupMs: 1_500, maxEntries: 10_000, ...options }
  const cache: Cache = { known: new Map(), refused: new Map(), pending: new Map(), epoch: 0 }
  return {
    authenticate: async (header) => {
      if (header === undefined) return undefined
      const entry = cache.known.get(header)
      if (entry === undefined) return unknownKey(cache, settings, header)
      const now = settings.now()
      if (now < entry.refreshAt) return entry.caller
      const refreshed = refresh(cache, settings, header, entry)
      return now < entry.staleAt ? entry.caller : refreshed
    },
    invalidate: (tenantId) => {
      cache.epoch++
      cache.refused.clear()
      cache.pending.clear()
      for (const entry of cache.known.values()) {
        if (tenantId === undefined || entry.caller.tenantId === tenantId) entry.refreshAt = entry.staleAt = -Infinity
      }
    },
  }
}

async function unknownKey(cache: Cache, settings: Settings, header: string): Promise<Caller | undefined> {
  const key = bearerKey(header)
  const publicId = key && parseKey(key)?.publicId
  if (!key || !publicId) return undefined
  const refusedUntil = cache.refused.get(header)
  if (refusedUntil !== undefined && settings.now() < refusedUntil) return undefined
  if (!cache.pending.has(header) && cache.pending.size >= MAX_PENDING)
    throw new Problem('overloaded', 'Too many unknown API keys are being looked up. Try again.')
  try {
    return await lookUp(cache, settings, header, publicId)
  } catch (cause) {
    throw new Problem('unavailable', 'API keys cannot be looked up at the moment. Try again.', { cause })
  }
}

/** Looks a known key up anew; never rejects: without an answer the key goes on working and is retried soon. */
async function refresh(cache: Cache, settings: Settings, header: string, entry: Entry): Promise<Caller | undefined> {
  try {
    return await lookUp(cache, settings, header, entry.publicId)
  } catch {
    const now = settings.now()
    entry.refreshAt = now + REFUSED_MS
    entry.staleAt = now + settings.cacheMs
    return entry.caller
  }
}

/** One look-up per header at a time, however many requests wait for it. */
function lookUp(cache: Cache, settings: Settings, header: string, publicId: string): Promise<Caller | undefined> {
  const running = cache.pending.get(header)
  if (running) return running
  const started = settings.now()
  const epoch = cache.epoch
  const lookup = withinMs(findApiKey(settings.pool, publicId), settings.lookupMs)
    .then((stored) => {
      const caller = stored && matching(stored, bearerKey(header) ?? '')
      remember(cache, settings, header, caller, cache.epoch === epoch ? started : -Infinity)
      return caller
    })
    .finally(() => {
      if (cache.pending.get(header) === lookup) cache.pending.delete(header)
    })
  cache.pending.set(header, lookup)
  return lookup
}

function remember(cache: Cache, settings: Settings, header: string, caller: Caller | undefined, asOf: number): void {
  // Deleting first moves an entry in use to the end of the Map, away from eviction.
  cache.known.delete(header)
  if (caller) {
    makeRoom(cache.known, settings.maxEntries)
    const times = { refreshAt: asOf + settings.cacheMs / 2, staleAt: asOf + settings.cacheMs }
    cache.known.set(header, { caller, publicId: caller.keyId, ...times })
  } else if (asOf !== -Infinity) {
    makeRoom(cache.refused, MAX_REFUSED)
    cache.refused.set(header, asOf + REFUSED_MS)
  }
}

function makeRoom(map: Map<string, unknown>, maxEntries: number): void {
  for (const oldest of map.keys()) {
    if (map.size < maxEntries) return
    map.delete(oldest)
  }
}

function matching(stored: StoredKey, key: string): Caller | undefined {
  if (!timingSafeEqual(stored.sha256, hashKey(key))) return undefined
  const permissions = stored.permissions
    .filter(isPermission)
    // A tenant key never reaches beyond its tenant, whatever its row says.
    .filter((permission) => stored.operator || !OPERATOR_PERMISSIONS.includes(permission))
    // Nor does one with a scope do more than read inside it.
    .filter((permission) => stored.scope === 'everything' || SCOPED_PERMISSIONS.includes(permission))
  return {
    tenantId: stored.tenantId,
    tenantSlug: stored.tenantSlug,
    keyId: stored.publicId,
    operator: stored.operator && stored.scope === 'everything',
    permissions: new Set(permissions),
    scope: stored.scope,
  }
}

function bearerKey(header: string): string | undefined {
  return /^bearer +(\S{1,200})$/i.exec(header)?.[1]
}

function withinMs<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new Error(`No answer from Postgres within ${ms} ms`)), ms)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}
