import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import type { EventLogWriter } from '../append/event-log.ts'
import { isStoredWithin } from '../append/stored-within.ts'
import { groupBy } from '../group-by.ts'
import { groupOf, spanOf } from './counter-groups.ts'
import { type CounterKey, counterId, type QuotaStore } from './quota-store.ts'
import { isAhead } from './rolling.ts'
import { usedMicro } from './usage.clickhouse.ts'

export type LoaderDeps = {
  quota: Pick<QuotaStore, 'load' | 'memory'>
  usage: ClickHouseStore
  /** The subjects of customers, by the customers' ids; none: it need not be there. */
  subjectsOf: (tenant: TenantId, customerIds: readonly string[]) => Promise<ReadonlyMap<string, readonly string[]>>
  writer: Pick<EventLogWriter, 'logId' | 'ends'>
  /** Sends what is gathered and waits until nothing is under way. */
  drain: () => Promise<void>
  now: () => number
  /** How long what other processes drew may take into the log. */
  settlesMs?: number
}

/** Counters that are loaded together. `groups`: those of one tenant, meter and window, by its name, from the look on. */
type Load = { counters: CounterKey[]; groups: Promise<ReadonlyMap<string, Promise<void>>> }

const CATCH_UP_MS = 10_000
const POLL_MS = 20
/** A load waits no longer than this for the one before it: a tenant with many counters, or a slow store, holds up others. */
const LONGEST_TURN_MS = 1_000
/** Far longer than a draw takes into the log, and short enough for a request to wait. */
const SETTLES_MS = 2_000
/** The store serves nobody else meanwhile. */
const COUNTERS_A_STEP = 500

/**
 * Loads missing counters from exact usage, within the request that needs them. First what was accepted before must be
 * countable: it is drained into the log, and usage must have caught up with the log's end. What is missed while a load is
 * under way is gathered for the next one, which begins with a look of its own; requests for the same counter share one
 * load. A store that is away fails the request, to be sent again: the limit stays closed. Of a bucket that no event can lie
 * in yet nothing is used: an active subject's are there when their time comes, and no request waits for them.
 *
 * A store that lost everything (decision 0037) is told by what it says of its memory. What other processes drew before is
 * on its way into the log then, so that a look waits until the new memory is SETTLES_MS old; and what was looked up for one
 * memory is not loaded into the next, but looked up again.
 *
 * What a loaded counter may lack, and so what may be taken beyond a limit (README.md):
 * - events that other ingest processes had drawn on a counter that was then lost, if they take longer than that into the log.
 *   This process's own are in.
 * - events that processes took before they knew a limit that is new: their notice of it takes milliseconds, 10 s at most.
 * - events whose append failed although the log has them, if they are never sent again: their draw was given back.
 */
export function createCounterLoader(deps: LoaderDeps): (counters: readonly CounterKey[]) => Promise<void> {
  const loading = new Map<string, Load>()
  let latest: Promise<unknown> = Promise.resolve()
  let gathering: Load | undefined

  const forget = (counters: readonly CounterKey[]) => {
    for (const counter of counters) loading.delete(counterId(counter))
  }
  const begin = (): Load => {
    const counters: CounterKey[] = []
    const beforeIsDone = Promise.race([latest, sleep(LONGEST_TURN_MS, undefined, { ref: false })])
    const groups = beforeIsDone.then(async () => {
      // Requests whose draw was answered just before these hand their events over in this turn.
      await turn()
      gathering = undefined
      const sinceOf = await settled(deps, new Set(counters.map(({ tenant }) => tenant)))
      await deps.drain()
      await caughtUp(deps)
      const groups = [...groupBy(counters, groupOf)]
      return new Map(
        groups.map(([name, group]) => [name, loadGroup(deps, group, sinceOf).finally(() => forget(group))]),
      )
    })
    latest = groups.then(
      (all) => Promise.allSettled(all.values()),
      () => forget(counters),
    )
    return { counters, groups }
  }
  const join = (counter: CounterKey, id: string): Load => {
    gathering ??= begin()
    gathering.counters.push(counter)
    loading.set(id, gathering)
    return gathering
  }

  return async (counters) => {
    const asked = new Map<Load, Set<string>>()
    const nowMs = deps.now()
    const ahead = counters.filter((counter) => isAhead(counter, nowMs))
    for (const counter of counters) {
      if (isAhead(counter, nowMs)) continue
      const id = counterId(counter)
      const load = loading.get(id) ?? join(counter, id)
      asked.set(load, (asked.get(load) ?? new Set<string>()).add(groupOf(counter)))
    }
    const isDone = async ([{ groups }, names]: [Load, Set<string>]) => {
      const all = await groups
      await Promise.all([...names].map((name) => all.get(name)))
    }
    try {
      await Promise.all([loadUses(deps, ahead, nothing), ...[...asked].map(isDone)])
    } catch (cause) {
      throw new Problem('unavailable', 'The quota counters cannot be loaded: try again', { cause })
    }
  }
}

type SinceOf = ReadonlyMap<TenantId, string>

/** Since when the store remembers each tenant, once what was drawn before that had time to come into the log. */
async function settled({ quota, settlesMs = SETTLES_MS }: LoaderDeps, tenants: Iterable<TenantId>): Promise<SinceOf> {
  const memories = await Promise.all([...tenants].map(async (tenant) => ({ tenant, ...(await quota.memory(tenant)) })))
  const youngestMs = Math.min(...memories.map(({ forMs }) => forMs))
  if (youngestMs < settlesMs) await sleep(settlesMs - youngestMs)
  return new Map(memories.map(({ tenant, since }) => [tenant, since]))
}

async function loadGroup(deps: LoaderDeps, group: readonly CounterKey[], sinceOf: SinceOf): Promise<void> {
  await loadUses(deps, group, await usedOf(deps, group), sinceOf)
}

type UsedOf = (counter: CounterKey) => bigint
const nothing: UsedOf = () => 0n

async function loadUses(
  deps: LoaderDeps,
  group: readonly CounterKey[],
  usedOf: UsedOf,
  sinceOf?: SinceOf,
): Promise<void> {
  const since = group[0] && sinceOf?.get(group[0].tenant)
  for (let from = 0; from < group.length; from += COUNTERS_A_STEP) {
    const some = group.slice(from, from + COUNTERS_A_STEP)
    await deps.quota.load(
      some.map((counter) => ({ counter, usedMicro: usedOf(counter) })),
      deps.now(),
      since,
    )
    // The embedded store is done at once, and others want their turn.
    await turn()
  }
}

/** Of the counters of a group. What a customer used is what all its subjects did. */
async function usedOf({ usage, subjectsOf }: LoaderDeps, group: readonly CounterKey[]): Promise<UsedOf> {
  const [first, ...others] = group
  if (!first) return nothing
  const span = spanOf([first, ...others])
  const holders = [...new Set(group.map(({ subject }) => subject))]
  if (!first.ofCustomer) {
    const used = await usedMicro(usage, span, holders)
    return ({ startMs, subject }) => used.get(startMs)?.get(subject) ?? 0n
  }
  const subjects = await subjectsOf(first.tenant, holders)
  const used = await usedMicro(usage, span, [...subjects.values()].flat())
  return ({ startMs, subject: customer }) => {
    const ofWindow = used.get(startMs)
    return (subjects.get(customer) ?? []).reduce((sum, subject) => sum + (ofWindow?.get(subject) ?? 0n), 0n)
  }
}

async function caughtUp({ usage, writer }: LoaderDeps): Promise<void> {
  const { logId } = writer
  const isStored = await isStoredWithin(
    usage,
    { logId, ends: await writer.ends() },
    { waitMs: CATCH_UP_MS, pollMs: POLL_MS },
  )
  if (!isStored) throw new Error(`usage did not catch up with the log within ${CATCH_UP_MS} ms`)
}
