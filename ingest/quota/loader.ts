import { setTimeout as sleep } from 'node:timers/promises'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { Problem } from '../../schemas/http/problem.ts'
import type { EventLogWriter } from '../append/event-log.ts'
import { type CounterKey, counterId, type QuotaStore } from './quota-store.ts'
import { isStoredUpTo, usedMicro } from './usage.clickhouse.ts'

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
 * Loads missing counters from exact usage, within the request that needs them; requests for the same counter share one
 * load. First what was accepted before must be countable: it is drained into the log, and usage must have caught up
 * with the log's end. A store that is away fails the request, to be sent again: the limit stays closed.
 */
export function createCounterLoader(deps: LoaderDeps): (counters: readonly CounterKey[]) => Promise<void> {
  const loading = new Map<string, Promise<void>>()
  const load = async (counter: CounterKey): Promise<void> => {
    await deps.drain()
    await caughtUp(deps)
    await deps.quota.load(counter, await usedMicro(deps.usage, counter), deps.now())
  }
  return async (counters) => {
    await Promise.all(
      counters.map((counter) => {
        const id = counterId(counter)
        const already = loading.get(id)
        if (already) return already
        const promise = load(counter)
          .catch((cause: unknown) => {
            throw new Problem('unavailable', 'The quota counter cannot be loaded: try again', { cause })
          })
          .finally(() => loading.delete(id))
        loading.set(id, promise)
        return promise
      }),
    )
  }
}

async function caughtUp({ usage, writer }: LoaderDeps): Promise<void> {
  const ends = await writer.ends()
  for (let waitedMs = 0; waitedMs < WAIT_MS; waitedMs += POLL_MS) {
    if (await isStoredUpTo(usage, writer.logId, ends)) return
    await sleep(POLL_MS)
  }
  throw new Error(`usage did not catch up with the log within ${WAIT_MS} ms`)
}
