import { note } from '../child.ts'
import type { Fact } from '../fact.ts'
import type { Figure } from '../figure.ts'
import { spreadOf } from '../percentile.ts'
import { eventsStored, fillSpan } from './fill.clickhouse.ts'
import { eventsIn, SPAN_MS, spanOf } from './span.ts'
import { askMonths, bytesOnDisk, costOf, openHistoryWorld, rebuildAll, untilMerged } from './world.clickhouse.ts'

const DAY_MS = 86_400_000
/** The first questions open files and fill caches. */
const FIRST_QUESTIONS = 3

/** One customer-month out of a month of everybody's events, on the embedded store. */
export const usage: Figure = async ({ mode, sizes, folder }) => {
  const world = await openHistoryWorld(folder)
  try {
    const { store, tenantId } = world
    const fromMs = Math.floor(Date.now() / DAY_MS) * DAY_MS - SPAN_MS - DAY_MS
    const span = spanOf(sizes.usageEvents, fromMs, 0)
    note(`${eventsIn(span)} events`)
    const filled = await costOf(() => fillSpan(store, tenantId, span))
    note('rebuild')
    const rebuilt = await costOf(() => rebuildAll(store, tenantId))
    await untilMerged(store)
    note('questions')
    await askMonths(world, span, FIRST_QUESTIONS)
    const costs = await askMonths(world, span, sizes.usageQueries)
    const cpu = spreadOf(costs.map(({ cpuUs }) => cpuUs / 1_000))
    const wall = spreadOf(costs.map(({ wallMs }) => wallMs))
    const detail = { events: eventsIn(span), shards: span.slices, queries: cpu.count }
    const fact = (what: string, value: number, unit: string, target?: string): Fact => {
      return { mode, figure: 'usage of a customer-month', what, value, unit, detail, ...(target ? { target } : {}) }
    }
    const stored = eventsStored(span)
    return [
      fact(`among ${eventsIn(span).toLocaleString('en')} events, wall p50`, wall.p50, 'ms'),
      fact('wall p99', wall.p99, 'ms', '< 100 ms over 100,000,000 events'),
      fact('wall, longest', wall.max, 'ms'),
      fact('CPU p50', cpu.p50, 'ms'),
      fact('CPU p99', cpu.p99, 'ms'),
      fact('rebuild of all, CPU', rebuilt.cpuUs / stored, 'µs an event'),
      fact('rebuild of all, time', rebuilt.wallMs / 1_000, 's'),
      fact('on disk, rollups included', (await bytesOnDisk(store)) / stored, 'bytes an event'),
      fact('filling it in ClickHouse, CPU', filled.cpuUs / stored, 'µs an event'),
    ]
  } finally {
    await world.close()
  }
}
