import { beforeEach, describe, expect, test } from 'vitest'
import { type AcceptDeps, acceptEvents } from '../../../ingest/accept/accept.ts'
import type { TenantConfig } from '../../../ingest/accept/config.ts'
import type { Outcome } from '../../../ingest/accept/outcome.ts'
import { type Batcher, createBatcher } from '../../../ingest/append/batcher.ts'
import { compileEventType } from '../../../ingest/event-types/avro-schema.ts'
import { type CounterKey, counterId, decide, type QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { decodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import type { UsageEvent } from '../../../schemas/event/usage-event.ts'
import type { Caller } from '../../../schemas/http/door.ts'
import { cloudEvent, LLM_SCHEMA } from '../../support/metering.ts'
import { quotaLimit } from '../../support/quota-limit.ts'

const NOW = Date.UTC(2026, 10, 20, 12)
const key = { keyId: 'k', operator: false, permissions: new Set<never>(), scope: 'everything' } as const
const caller: Caller = { tenantId: 7, tenantSlug: 'acme', ...key }
const LIMIT = quotaLimit({ meter: 'tokens', subject: 'limited', limitMicro: 1_000_000_000n })

/** The pure part with everything around it in memory, to see effects in order and to make them fail. */
type World = {
  deps: AcceptDeps
  log: UsageEvent[]
  used: Map<string, bigint>
  calls: string[]
  logFails: (event: UsageEvent) => boolean
}
let world: World

function configOf(types: string[]): TenantConfig {
  return {
    types: new Map(types.map((type) => [type, compileEventType(LLM_SCHEMA)])),
    metersOfType: new Map([
      ['llm.request', [{ slug: 'tokens', eventType: 'llm.request', aggregation: 'sum', valuePath: ['tokens'] }]],
    ]),
    limitsOf: (subject) => (subject === 'limited' ? [LIMIT] : []),
    grantsOf: () => expect.unreachable('events are asked about limits only'),
    loadedAtMs: NOW,
  }
}

const notAsked = async () => expect.unreachable('accepting events grants and ends no holds')
const NO_HOLDS = {
  ...{ hold: notAsked, release: notAsked, returnUnused: notAsked },
  ...{ subjectOfHold: notAsked, read: notAsked, sweepHolds: notAsked, memory: notAsked },
}
const NO_ADMIN = {
  livingCounters: () => expect.unreachable('accepting events compares no counters'),
  ...{ lookAt: notAsked, correct: notAsked },
}

function memoryQuota(used: Map<string, bigint>, calls: string[]): QuotaStore {
  const seen = new Set<string>()
  return {
    ...NO_HOLDS,
    ...NO_ADMIN,
    draw: async (items, _nowMs, enforce) => {
      calls.push(`draw ${items.length}`)
      const counters = items.flatMap((item) => item.draws.map(({ counter }) => counter))
      const missing = counters.filter((counter) => !used.has(counterId(counter)))
      if (missing.length > 0) return { missing }
      const decisions = items.map((item) => {
        const decision = decide(
          item,
          ({ counter }) => used.get(counterId(counter)) ?? 0n,
          seen.has(item.identity),
          enforce,
        )
        if (decision.drawn) {
          seen.add(item.identity)
          for (const { counter, micro } of item.draws) add(used, counter, micro)
        }
        return decision
      })
      return { decisions }
    },
    giveBack: async (items) => {
      calls.push(`give back ${items.length}`)
      for (const { identity, draws } of items) {
        seen.delete(identity)
        for (const { counter, micro } of draws) add(used, counter, -micro)
      }
    },
    load: async (uses) => {
      for (const { counter, usedMicro } of uses) used.set(counterId(counter), usedMicro)
    },
    ping: async () => undefined,
    close: async () => undefined,
  }
}

function add(used: Map<string, bigint>, counter: CounterKey, micro: bigint): void {
  used.set(counterId(counter), (used.get(counterId(counter)) ?? 0n) + micro)
}

beforeEach(() => {
  const log: UsageEvent[] = []
  const used = new Map<string, bigint>()
  const calls: string[] = []
  const quota = memoryQuota(used, calls)
  const batcher: Batcher = createBatcher(
    {
      logId: 'memory',
      partitions: 1,
      ends: async () => [0],
      append: async (records) => {
        const events = records.flatMap(({ record }) => decodeBatch(record))
        if (events.some((event) => world.logFails(event))) throw new Error('the log is away')
        calls.push(`append ${events.length}`)
        log.push(...events)
      },
    },
    { lingerMs: 0, busyLingerMs: 0, maxRecordBytes: 512 * 1024, maxEventsPerRecord: 1_000, maxQueuedBytes: 100_000 },
  )
  const deps: AcceptDeps = {
    config: {
      get: async () => configOf(['llm.request']),
      atLeast: async () => configOf([]),
      invalidate: () => undefined,
    },
    batcher,
    partitions: 1,
    quota,
    loadCounters: async (counters) => {
      calls.push(`load ${counters.length}`)
      for (const counter of counters) await quota.load([{ counter, usedMicro: 0n }], NOW)
    },
    enforceQuota: true,
    now: () => NOW,
  }
  world = { deps, log, used, calls, logFails: () => false }
})

async function send(...events: unknown[]): Promise<Outcome[]> {
  return (await acceptEvents(world.deps, caller, events)).map(({ outcome }) => outcome)
}
const kinds = (outcomes: Outcome[]) => outcomes.map(({ outcome }) => outcome)
const limited = (id: string, tokens: number) => cloudEvent(id, { tokens }, { subject: 'limited' })
const logged = () => world.log.map((event) => `${event.id} ${event.data}`)
const usedUnits = () => Number([...world.used.values()].reduce((sum, micro) => sum + micro, 0n)) / 1e6

describe('every event ends in exactly one outcome, in the order sent (invariant 4)', () => {
  test('whatever happened to it', async () => {
    const outcomes = await send(
      cloudEvent('a'),
      cloudEvent('b', {}, { type: 'unknown' }),
      cloudEvent('a'),
      limited('c', 600),
      limited('d', 600),
      null,
      limited('e', 400),
    )
    expect(outcomes).toEqual([
      { outcome: 'accepted', id: 'a' },
      expect.objectContaining({ outcome: 'rejected', id: 'b', code: 'unknown_type', path: 'type' }),
      { outcome: 'duplicate', id: 'a' },
      { outcome: 'accepted', id: 'c', quota_remaining: '400' },
      { outcome: 'quota_exceeded', id: 'd', quota_remaining: '400' },
      expect.objectContaining({ outcome: 'rejected', code: 'invalid_value' }),
      { outcome: 'accepted', id: 'e', quota_remaining: '0' },
    ])
    expect(world.log.map(({ id }) => id).sort()).toEqual(['a', 'c', 'e'])
  })

  test('quotas of a whole request are drawn in one round trip, before anything is appended', async () => {
    await send(limited('a', 1), cloudEvent('b'), limited('c', 1))
    expect(world.calls).toEqual(['draw 2', 'load 2', 'draw 2', 'append 3'])
    await send(cloudEvent('d'))
    expect(world.calls.slice(4)).toEqual(['append 1'])
  })

  test('without enforcement what does not fit is accepted and flagged', async () => {
    world.deps.enforceQuota = false
    expect(await send(limited('a', 1_600), limited('b', 1))).toEqual([
      { outcome: 'accepted', id: 'a', quota_remaining: '0', over_quota: true },
      { outcome: 'accepted', id: 'b', quota_remaining: '0', over_quota: true },
    ])
  })
})

describe('copies within one request', () => {
  test('one alike is not appended; one with another payload is, after the first, so that the conflict is seen', async () => {
    const outcomes = await send(cloudEvent('a'), cloudEvent('a'), cloudEvent('a', { tokens: 2 }))
    expect(kinds(outcomes)).toEqual(['accepted', 'duplicate', 'duplicate'])
    expect(logged()).toEqual([
      'a {"tokens":1,"model":"small","cost":null}',
      'a {"tokens":2,"model":"small","cost":null}',
    ])
  })

  test('the same id from another source is another event', async () => {
    expect(kinds(await send(cloudEvent('a'), cloudEvent('a', { tokens: 1 }, { source: 'other' })))).toEqual([
      'accepted',
      'accepted',
    ])
  })

  test('a valid copy of a rejected event is taken: only what is valid has an identity', async () => {
    expect(kinds(await send(cloudEvent('a', { tokens: 'x' }), cloudEvent('a')))).toEqual(['rejected', 'accepted'])
  })

  test('a copy of an event that the quota refused is refused with it: it would count past the quota', async () => {
    const outcomes = await send(limited('a', 5_000), limited('a', 4_000), limited('a', 1))
    expect(kinds(outcomes)).toEqual(['quota_exceeded', 'quota_exceeded', 'quota_exceeded'])
    expect(world.log).toEqual([])
    expect(usedUnits()).toBe(0)
  })

  test('a copy of an event that the log did not take has failed with it', async () => {
    world.logFails = () => true
    expect(kinds(await send(cloudEvent('a'), cloudEvent('a'), cloudEvent('a', { tokens: 2 })))).toEqual([
      'failed',
      'failed',
      'failed',
    ])
  })

  test('a copy with another payload that the log did not take has failed: the conflict would go unseen', async () => {
    world.logFails = (event) => event.data.includes('2')
    expect(kinds(await send(cloudEvent('a'), cloudEvent('a', { tokens: 2 })))).toEqual(['accepted', 'failed'])
  })
})

describe('the log away', () => {
  test('the events have failed, can be sent again, and what they drew is given back', async () => {
    world.logFails = () => true
    expect(await send(limited('a', 600))).toEqual([
      { outcome: 'failed', id: 'a', retryable: true, message: expect.stringContaining('send it again') },
    ])
    expect(usedUnits()).toBe(0)
    world.logFails = () => false
    expect(await send(limited('a', 600))).toEqual([{ outcome: 'accepted', id: 'a', quota_remaining: '400' }])
  })

  test('a resend that fails gives nothing back: the first copy, which drew, is in the log', async () => {
    await send(limited('a', 600))
    world.logFails = () => true
    expect(kinds(await send(limited('a', 600)))).toEqual(['failed'])
    expect(usedUnits()).toBe(600)
    world.logFails = () => false
    expect(kinds(await send(limited('b', 600), limited('a', 600)))).toEqual(['quota_exceeded', 'accepted'])
  })

  test('a full queue refuses the whole request and keeps nothing of it: no draw, no append', async () => {
    const large = Array.from({ length: 1_500 }, (_, n) => limited(`row-${n}`, 0))
    await expect(send(...large)).rejects.toMatchObject({ code: 'overloaded', options: { retryAfterSeconds: 1 } })
    expect(world.calls).toEqual([])
    expect(kinds(await send(limited('a', 1)))).toEqual(['accepted'])
  })
})

describe('counters', () => {
  test('that vanish again and again fail the request, to be sent again', async () => {
    world.deps.loadCounters = async () => void world.calls.push('load')
    await expect(send(limited('a', 1))).rejects.toMatchObject({ code: 'unavailable' })
    expect(world.log).toEqual([])
  })

  test('that cannot be loaded close the limit: nothing is kept', async () => {
    world.deps.loadCounters = async () => Promise.reject(new Error('no usage'))
    await expect(send(limited('a', 1), cloudEvent('b'))).rejects.toThrow('no usage')
    expect(world.log).toEqual([])
  })
})

describe('a type that is unknown here', () => {
  test('is looked up anew before it is refused: another process may have registered it', async () => {
    const asked: number[] = []
    world.deps.config.get = async () => ({ ...configOf([]), loadedAtMs: NOW - 5_000 })
    world.deps.config.atLeast = async (_tenant, sinceMs) => {
      asked.push(sinceMs)
      return configOf(['llm.request'])
    }
    expect(kinds(await send(cloudEvent('a')))).toEqual(['accepted'])
    expect(asked).toEqual([NOW])
  })

  test('is refused at once when the configuration is fresh: unknown types are no way to ask Postgres each time', async () => {
    world.deps.config.get = async () => configOf([])
    world.deps.config.atLeast = async () => Promise.reject(new Error('asked'))
    expect(kinds(await send(cloudEvent('a')))).toEqual(['rejected'])
  })
})
