import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { isStoredUpTo } from '../../schemas/clickhouse/stored-ends.clickhouse.ts'
import { Problem } from '../../schemas/http/problem.ts'
import type { EventLogWriter } from '../append/event-log.ts'
import { type CounterKey, counterId, type QuotaStore } from './quota-store.ts'
import { usedMicro } from './usage.clickhouse.ts'

export type LoaderDeps = {
  quota: QuotaStore
  usage: ClickHouseStore
  writer: EventLogWriter
  /** Sends what is gathered and waits until nothing is under way. */
  drain: () => Promise<void>
  now: () => number
}

const WAIT_MS = 10_000
const POLL_MS = 20

/**
 * Loads missing counters from exact usage, within the request that needs them: all of a request together, and requests
 * for the same counter share one load. First what was accepted before must be countable: it is drained into the log,
 * and usage must have caught up with the log's end. A store that is away fails the request, to be sent again: the limit
 * stays closed.
 *
 * What a loaded counter may lack, and so what may be taken beyond a limit (decision 0004):
 * - events that other ingest processes had drawn on a counter that was then lost, and that were still on their way into
 *   the log when this one looked at its end: at most their requests under way, once per loss. This process's own are in.
 * - events that processes took before they knew a limit that is new: their notice of it takes milliseconds, 10 s at most.
 * - events whose append failed although the log has them, if they are never sent again: their draw was given back.
 */
export function createCounterLoader(deps: LoaderDeps): (counters: readonly CounterKey[]) => Promise<void> {
  const loading = new Map<string, Promise<void>>()
  return async (counters) => {
    const underWay = counters.flatMap((counter) => loading.get(counterId(counter)) ?? [])
    const missing = counters.filter((counter) => !loading.has(counterId(counter)))
    const ids = missing.map(counterId)
    if (missing.length > 0) {
      const load = loadAll(deps, missing)
        .catch((cause: unknown) => {
          throw new Problem('unavailable', 'The quota counters cannot be loaded: try again', { cause })
        })
        .finally(() => {
          for (const id of ids) loading.delete(id)
        })
      for (const id of ids) loading.set(id, load)
      underWay.push(load)
    }
    await Promise.all(underWay)
  }
}

async function loadAll(deps: LoaderDeps, counters: readonly CounterKey[]): Promise<void> {
  // Requests whose draw was answered just before ours hand their events over in this turn.
  await turn()
  await deps.drain()
  await caughtUp(deps)
  for (const group of byWindow(counters).flatMap(inParts)) {
    const used = await usedMicro(
      deps.usage,
      group[0],
      group.map(({ subject }) => subject),
    )
    for (const counter of group) await deps.quota.load(counter, used.get(counter.subject) ?? 0n, deps.now())
  }
}

/** Counters of one tenant, meter and window are one question. */
function byWindow(counters: readonly CounterKey[]): [CounterKey, ...CounterKey[]][] {
  const groups = new Map<string, [CounterKey, ...CounterKey[]]>()
  for (const counter of counters) {
    const id = counterId({ ...counter, subject: '' })
    const group = groups.get(id)
    if (group) group.push(counter)
    else groups.set(id, [counter])
  }
  return [...groups.values()]
}

/** Subjects are 256 bytes at most, and a statement's text 256 KiB. */
const SUBJECTS_PER_QUERY = 500

function inParts(group: [CounterKey, ...CounterKey[]]): [CounterKey, ...CounterKey[]][] {
  const [first] = group
  const parts: [CounterKey, ...CounterKey[]][] = []
  for (let from = 0; from < group.length; from += SUBJECTS_PER_QUERY) {
    parts.push([group[from] ?? first, ...group.slice(from + 1, from + SUBJECTS_PER_QUERY)])
  }
  return parts
}

async function caughtUp({ usage, writer }: LoaderDeps): Promise<void> {
  const ends = await writer.ends()
  for (let waitedMs = 0; waitedMs < WAIT_MS; waitedMs += POLL_MS) {
    if (await isStoredUpTo(usage, writer.logId, ends)) return
    await sleep(POLL_MS)
  }
  throw new Error(`usage did not catch up with the log within ${WAIT_MS} ms`)
}
