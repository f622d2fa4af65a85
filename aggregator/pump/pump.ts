import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type ClickHouseStore, isDataError } from '../../schemas/clickhouse/store.ts'
import { storedEnds } from '../../schemas/clickhouse/stored-ends.clickhouse.ts'
import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'
import type { EventLogReader, Offsets } from './event-log.ts'
import { insertDeadLetter, insertRecords } from './insert.clickhouse.ts'

export type PumpDeps = {
  reader: EventLogReader
  store: ClickHouseStore
  logger: Logger
  now: () => number
  /** Told of tenants whose events were stored, some perhaps again. */
  onStored?: (tenants: ReadonlySet<number>) => void
}

export type Pump = {
  start(): Promise<void>
  stop(): Promise<void>
  /** Next offset of each partition read here: all before it is stored, with its marks and ranges. */
  positions(): Offsets
  /** When the pump last stored something or found nothing to store. */
  lastProgressMs(): number
}

const READ_BYTES = 8 * 1024 ** 2
/** What came in less time than this is stored together: an insert costs as much by itself as some thousands of events. */
const LINGER_MS = 200
const IDLE_WAIT_MS = 250
const RETRY_FIRST_MS = 100
const RETRY_MAX_MS = 5_000

/** One loop owns reading, inserting and progress. It never gives up: while the store is away, the log keeps. */
export function createPump(deps: PumpDeps): Pump {
  const { reader, store, logger, now } = deps
  let positions: (number | undefined)[] = []
  let generation = -1
  let progressMs = now()
  let stopping = false
  let running: Promise<void> = Promise.resolve()

  /** What others stored counts: a partition that comes to us goes on where its last reader stopped. */
  const takeOver = async (): Promise<void> => {
    const assignment = reader.assignment()
    if (assignment.generation === generation) return
    const ends = await storedEnds(store, reader.logId, reader.partitions)
    positions = ends.map((end, partition) => (assignment.partitions.includes(partition) ? end : undefined))
    generation = assignment.generation
  }

  const step = async (): Promise<void> => {
    await takeOver()
    const rows = await reader.read(positions, READ_BYTES)
    if (rows.length === 0) {
      progressMs = now()
      await reader.waitForMore(IDLE_WAIT_MS)
      return
    }
    await storeRows(deps, rows)
    for (const { partition, offset } of rows) positions[partition] = Math.max(positions[partition] ?? 0, offset + 1)
    reader.stored(positions)
    progressMs = now()
    // What comes after a pause is stored at once; who lags does not wait.
    if (bytesOf(rows) < READ_BYTES / 2 && !stopping) await sleep(LINGER_MS)
  }

  const loop = async (): Promise<void> => {
    let retryMs = RETRY_FIRST_MS
    while (!stopping) {
      try {
        await step()
        retryMs = RETRY_FIRST_MS
      } catch (error) {
        logger.error({ err: error, retryMs }, 'the aggregator cannot store events; it tries again')
        await sleep(retryMs)
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)
      }
    }
  }

  return {
    start: async () => {
      await reader.start()
      await takeOver()
      running = loop()
    },
    stop: async () => {
      stopping = true
      await running
      await reader.stop()
    },
    positions: () => positions,
    lastProgressMs: () => progressMs,
  }
}

function bytesOf(rows: readonly LogRow[]): number {
  return rows.reduce((sum, { batch }) => sum + batch.length, 0)
}

/** An unreadable record must not stop the others: on a data error the rows are halved until it stands alone. */
async function storeRows(deps: PumpDeps, rows: readonly LogRow[]): Promise<void> {
  try {
    const tenants = await insertRecords(deps.store, deps.reader.logId, rows)
    deps.onStored?.(tenants)
  } catch (error) {
    if (!isDataError(error)) throw error
    const [only] = rows
    if (rows.length > 1) {
      const middle = Math.ceil(rows.length / 2)
      await storeRows(deps, rows.slice(0, middle))
      await storeRows(deps, rows.slice(middle))
    } else if (only) {
      deps.logger.error(
        { partition: only.partition, offset: only.offset },
        'a log record cannot be read; kept as dead letter',
      )
      await insertDeadLetter(deps.store, deps.reader.logId, only, (error as Error).message.slice(0, 500))
    }
  }
}
