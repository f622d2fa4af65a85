import { setTimeout as sleep } from 'node:timers/promises'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { EventLogWriter } from '../../append/event-log.ts'
import type { CounterAdmin, LivingCounter } from '../counter-admin.ts'
import { groupOf, spanOf } from '../counter-groups.ts'
import { type CounterKey, counterId } from '../quota-store.ts'
import { type Counted, countedUsage } from './counted.clickhouse.ts'
import type { Looks } from './drift.ts'
import { type CounterGroup, groupsOf, type SubjectsOf, subjectsOfHolders } from './holders.ts'
import { untilStored } from './until-stored.ts'

export type CompareDeps = {
  quota: CounterAdmin
  usage: ClickHouseStore
  subjectsOf: SubjectsOf
  writer: Pick<EventLogWriter, 'logId' | 'ends'>
  now: () => number
  /** Told of a question or a correction that failed. The counters that it was about wait for the next pass. */
  failed: (error: unknown) => void
}

export type CompareOptions = {
  /** Of all when not given. */
  tenant?: TenantId | undefined
  /** Between the first look and that at the log's end: what was being appended then is no difference. */
  settleMs: number
  /** How long usage may take to catch up with the log. */
  waitMs: number
  signal?: AbortSignal | undefined
}

/** A counter as it stood at the second look, and what usage says of it. Without looks it is damaged. */
export type Compared = LivingCounter & Counted & { looks: Looks | undefined }

/** Compared together, with one wait for usage. Some tens of MB. */
const MOST_AT_ONCE = 20_000
/** A question may fail for its own sake; several that do are a store that is away. */
const MOST_FAILURES = 3
const NOTHING: Counted = { usageMicro: 0n, events: 0n }

/**
 * Compares the counters that live with usage, a page after another. Each is looked at before and after usage: see
 * drift.ts. Nothing is drained and nobody waits for it. Fails while a store is away.
 */
export async function* compareCounters(deps: CompareDeps, options: CompareOptions): AsyncGenerator<Compared[]> {
  let before = new Map<string, LivingCounter>()
  for await (const page of deps.quota.livingCounters(deps.now(), options.tenant)) {
    if (options.signal?.aborted) return
    for (const one of page) before.set(counterId(one.counter), one)
    if (before.size < MOST_AT_ONCE) continue
    yield* compareThese(deps, options, before)
    before = new Map()
  }
  if (before.size > 0) yield* compareThese(deps, options, before)
}

async function* compareThese(
  deps: CompareDeps,
  { settleMs, waitMs, signal }: CompareOptions,
  before: ReadonlyMap<string, LivingCounter>,
): AsyncGenerator<Compared[]> {
  await sleep(settleMs, undefined, signal ? { signal } : {})
  await untilStored(deps, waitMs, signal)
  let failures = 0
  const counters = [...before.values()].map(({ counter }) => counter)
  for (const group of groupsOf(counters, groupOf)) {
    if (signal?.aborted) return
    try {
      yield await compareGroup(deps, group, before)
    } catch (error) {
      if (++failures === MOST_FAILURES) throw error
      deps.failed(error)
    }
  }
}

async function compareGroup(
  deps: CompareDeps,
  group: CounterGroup,
  before: ReadonlyMap<string, LivingCounter>,
): Promise<Compared[]> {
  const countedOf = await countedByCounter(deps, group)
  const after = await deps.quota.lookAt(group, deps.now())
  return after.map((one) => {
    const counted = countedOf(one.counter)
    const first = before.get(counterId(one.counter))
    const drawnBeforeMicro = first && drawnOf(first)
    const drawnAfterMicro = drawnOf(one)
    const isSound = drawnBeforeMicro !== undefined && drawnAfterMicro !== undefined
    return { ...one, ...counted, looks: isSound ? { ...counted, drawnBeforeMicro, drawnAfterMicro } : undefined }
  })
}

/** What a customer used is what all its subjects did. */
async function countedByCounter(
  { usage, subjectsOf }: CompareDeps,
  group: CounterGroup,
): Promise<(counter: CounterKey) => Counted> {
  const subjects = await subjectsOfHolders(subjectsOf, group)
  const counted = await countedUsage(usage, spanOf(group), [...subjects.values()].flat())
  return ({ subject: holder, startMs }) => {
    const ofWindow = counted.get(startMs)
    const parts = (subjects.get(holder) ?? []).map((subject) => ofWindow?.get(subject) ?? NOTHING)
    return parts.reduce(
      (sum, part) => ({ usageMicro: sum.usageMicro + part.usageMicro, events: sum.events + part.events }),
      NOTHING,
    )
  }
}

/** What is held was added to the counter when it was granted, and is taken off when the hold ends. */
function drawnOf({ usedMicro, heldMicro }: LivingCounter): bigint | undefined {
  return usedMicro === undefined ? undefined : usedMicro - heldMicro
}
