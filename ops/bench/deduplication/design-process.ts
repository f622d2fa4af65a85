import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openChdb } from '../../embedded/chdb.clickhouse.ts'
import { migrateClickHouse } from '../../migrate/migrate.clickhouse.ts'
import { createRecords } from '../aggregator/log-rows.ts'
import { answerParent } from '../child.ts'
import { ownCpuUs } from '../cpu.ts'
import { type DesignName, openDesign } from './designs.clickhouse.ts'
import { type Traffic, trafficOf } from './traffic.ts'

export type DesignInput = Traffic & { design: DesignName; folder: string }
/** CPU of the whole process with chDB. `freshMs`: from the start of an insert until a question counts it, median. */
export type DesignFigures = {
  cpuUsPerEvent: number
  cpuMsPerQuestion: number
  freshMs: number
  rssMb: number
  total: string
}

const TENANT = 900_001
const QUESTION_EVERY = 6
/** What merges in the background belongs to the design too. */
const SETTLE_MS = 3_000

async function run({ design, folder, ...traffic }: DesignInput): Promise<DesignFigures> {
  const store = await openChdb(join(folder, 'clickhouse'), 2)
  await migrateClickHouse(store)
  const { store: insert, usage } = await openDesign(design, store, TENANT)
  const records = createRecords()
  const questionsUs: number[] = []
  const freshMs: number[] = []
  let rssMb = 0
  let events = 0
  let slices = 0
  let insertUs = 0
  for (const slice of trafficOf(traffic, TENANT, Date.now() - 60_000)) {
    const rows = records.next(slice.events)
    const startedMs = performance.now()
    const startedUs = ownCpuUs()
    await insert(rows, slice.nowMs)
    insertUs += ownCpuUs() - startedUs
    events += slice.events.length
    if (++slices % QUESTION_EVERY === 0) {
      const askedUs = ownCpuUs()
      await usage()
      questionsUs.push(ownCpuUs() - askedUs)
      freshMs.push(performance.now() - startedMs)
    }
    rssMb = Math.max(rssMb, process.memoryUsage.rss() / 1024 ** 2)
  }
  const settlingUs = ownCpuUs()
  await sleep(SETTLE_MS)
  insertUs += ownCpuUs() - settlingUs
  const total = [...(await usage()).values()].reduce((sum, used) => sum + BigInt(used.split('.')[0] ?? '0'), 0n)
  await store.close()
  return {
    cpuUsPerEvent: insertUs / events,
    cpuMsPerQuestion: middleOf(questionsUs) / 1_000,
    freshMs: middleOf(freshMs),
    rssMb,
    total: String(total),
  }
}

function middleOf(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

answerParent({ run: (input) => run(input as DesignInput) })
