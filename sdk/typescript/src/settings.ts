import { type Clock, systemClock } from './clock.ts'
import type { DeadLetter } from './event.ts'
import { microOf } from './micro.ts'
import type { FetchLike } from './post.ts'
import { type FillRandom, systemRandom } from './uuid-v7.ts'
import type { Spool } from './waiting-line.ts'

export type Full = {
  id: string
  /** `closed`: emitted after close(). `full`: memory, and the spool if there is one, hold as much as they may. */
  reason: 'full' | 'closed'
  waiting: number
  bytes: number
}

/** Sizes of JSON in bytes; a character beyond ASCII counts as one. */
export type TallylineOptions = {
  /** Of the server, such as https://usage.example.com; `/api/v1/…` is appended. */
  url: string
  /** `tly_…`; a function is asked before every request, so a key can be renewed. */
  key: string | (() => string)
  /** The CloudEvents source of events that name none. */
  source?: string
  batchEvents?: number
  batchBytes?: number
  /** How long an event may wait for others. */
  lingerMs?: number
  /** Bodies below it are sent plain. */
  gzipFromBytes?: number
  /** Requests under way at once. */
  concurrency?: number
  requestTimeoutMs?: number
  /** Retry n waits a random time up to firstRetryMs × 2ⁿ, never more than longestRetryMs. */
  firstRetryMs?: number
  longestRetryMs?: number
  /** So often, and for so long, a batch is sent when the request as such is refused (401, 403, 404 …). */
  refusedTries?: number
  refusedForMs?: number
  /** Of events that wait in memory. */
  maxWaitingEvents?: number
  maxWaitingBytes?: number
  /** From `@tallyline/sdk/spool`: events outlive the process. */
  spool?: Spool
  onDead?: (letter: DeadLetter) => void
  onFull?: (full: Full) => void
  quota?: QuotaOptions
  fetch?: FetchLike
  clock?: Clock
  /** In [0, 1), for the waits between retries. */
  random?: () => number
  fillRandom?: FillRandom
}

/** A request for a lease that brought none. `status` 0: no answer came. */
export type LeaseFailure = { subject: string; meter: string; status: number; message: string }

/** How decisions are made in the process: see README.md, "Quotas". */
export type QuotaOptions = {
  /** What is decided while no lease can be had: work goes on (the default), or stops. */
  whenAway?: 'open' | 'closed'
  /** For an answer to a request for a lease: the first decision of a subject waits for it. */
  requestTimeoutMs?: number
  /** A lease is asked for so long; the server gives back what is left some seconds later. */
  leaseMs?: number
  /** A lease should last so long at the present rate. */
  targetMs?: number
  /** A lease is no larger than this share of what remains of the limit … */
  share?: number
  /** … unless it would last shorter than this. */
  shortestMs?: number
  /** In units, while the rate is not known. */
  firstQuantity?: number
  /** A lease nobody drew from for so long is returned. */
  idleMs?: number
  /** How long "nothing is left" is believed. */
  deniedMs?: number
  /** Told of each request for a lease that brought none: `whenAway` decides meanwhile. */
  onFailure?: (failure: LeaseFailure) => void
}

export type Settings = Required<Omit<TallylineOptions, 'spool' | 'key' | 'quota'>> & {
  key: () => string
  spool: Spool | undefined
  quota: Required<QuotaOptions>
}

const LARGEST_BATCH = 10_000
const SHORTEST_LEASE_MS = 1_000
const LONGEST_LEASE_MS = 3_600_000

/** Options with defaults. Throws a TypeError at start rather than failing later. */
export function settingsOf(options: TallylineOptions): Settings {
  const { key, url, fetch: given, quota, ...others } = options
  if (typeof url !== 'string' || !/^https?:\/\//.test(url)) throw new TypeError('url must begin with http(s)://')
  if (typeof key !== 'function' && (typeof key !== 'string' || key === '')) throw new TypeError('key must be given')
  if (typeof key === 'string' && !isKey(key)) throw new TypeError('key must be printable ASCII without blanks')
  const settings: Settings = {
    source: '/sdk',
    batchEvents: 500,
    batchBytes: 524_288,
    lingerMs: 200,
    gzipFromBytes: 1_024,
    concurrency: 4,
    requestTimeoutMs: 30_000,
    firstRetryMs: 200,
    longestRetryMs: 30_000,
    refusedTries: 5,
    refusedForMs: 300_000,
    maxWaitingEvents: 100_000,
    maxWaitingBytes: 67_108_864,
    onDead: () => undefined,
    onFull: () => undefined,
    clock: systemClock,
    random: Math.random,
    fillRandom: systemRandom,
    spool: undefined,
    ...defined(others),
    fetch: given ?? ((target, init) => fetch(target, init)),
    url: url.replace(/\/+$/, ''),
    key: typeof key === 'function' ? key : () => key,
    quota: { ...QUOTA_DEFAULTS, ...defined(quota ?? {}) },
  }
  for (const [name, value] of Object.entries({ ...settings, ...settings.quota })) {
    if (typeof value === 'number' && !(value >= 0)) throw new TypeError(`${name} must be a number, zero or more`)
  }
  for (const name of ['batchEvents', 'batchBytes', 'concurrency', 'maxWaitingEvents', 'maxWaitingBytes'] as const) {
    if (settings[name] < 1) throw new TypeError(`${name} must be 1 or more`)
  }
  if (settings.batchEvents > LARGEST_BATCH) throw new TypeError(`batchEvents must be at most ${LARGEST_BATCH}`)
  microOf(settings.quota.firstQuantity)
  const { leaseMs } = settings.quota
  if (!Number.isInteger(leaseMs) || leaseMs < SHORTEST_LEASE_MS || leaseMs > LONGEST_LEASE_MS) {
    throw new TypeError(`quota.leaseMs must be whole and lie in ${SHORTEST_LEASE_MS}…${LONGEST_LEASE_MS}`)
  }
  return settings
}

const QUOTA_DEFAULTS: Required<QuotaOptions> = {
  whenAway: 'open',
  requestTimeoutMs: 2_000,
  leaseMs: 30_000,
  targetMs: 5_000,
  share: 0.005,
  shortestMs: 100,
  firstQuantity: 10,
  idleMs: 5_000,
  deniedMs: 1_000,
  onFailure: () => undefined,
}

/** Of other characters no header can be made, and its error would quote the key. */
export function isKey(key: string): boolean {
  return /^[!-~]+$/.test(key)
}

/** An option that is undefined was not given. */
function defined<T extends object>(options: T): { [Name in keyof T]: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [Name in keyof T]: Exclude<T[Name], undefined>
  }
}
