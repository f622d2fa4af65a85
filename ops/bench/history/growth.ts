import { randomUUID } from 'node:crypto'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { SHARD_SLICE_MS } from '../../../schemas/event/identity.ts'
import type { LogRow } from '../../../schemas/event/usage-batch.avro.ts'
import { createRecords, PARTITIONS, type Records } from '../aggregator/log-rows.ts'
import { note } from '../child.ts'
import { encodedEvents } from '../events.ts'
import type { Fact } from '../fact.ts'
import type { Figure } from '../figure.ts'
import { median } from '../measure.ts'
import { percentileOf } from '../percentile.ts'
import type { Sizes } from '../sizes.ts'
import { eventsStored, fillSpan } from './fill.clickhouse.ts'
import { eventsIn, SPAN_MS, type Span, sliceStartMs, spanOf } from './span.ts'
import {
  askMonths,
  type Cost,
  costOf,
  type HistoryWorld,
  openHistoryWorld,
  rebuildAll,
  untilMerged,
  withoutMerges,
} from './world.clickhouse.ts'

/** Months of history: doubled twice. */
const STEPS = [1, 2, 4]
const DAY_MS = 86_400_000
const EVENTS_PER_PROBED_SLICE = 10_000
const ONE_SHARD_TRIES = 5

/** What was measured at a size; times are CPU of the whole process, chDB included. */
type AtSize = {
  events: number
  pumpUs: number
  rebuildUs: number
  /** What merges took afterwards, a probed event: parts that were there before are in it. */
  mergeUs: number
  bulkRebuildUs: number
  oneShardMs: number
  queryMs: number
  queryWallP99Ms: number
}
type Probe = { records: Records; log: string; nextMs: number }

/** History doubles by whole months, each like the one before: what comes in and what is asked for stay the same. */
export const growth: Figure = async ({ mode, sizes, folder }) => {
  const world = await openHistoryWorld(folder)
  try {
    const fromMs = Math.floor(Date.now() / DAY_MS) * DAY_MS - 4 * SPAN_MS - 2 * DAY_MS
    const probe: Probe = { records: createRecords(), log: `probe-${randomUUID()}`, nextMs: fromMs + 4 * SPAN_MS }
    const spans: Span[] = []
    const found: AtSize[] = []
    for (const months of STEPS) {
      const bulk = { cpuUs: 0, events: 0 }
      while (spans.length < months) {
        const span = spanOf(sizes.growthEvents, fromMs + spans.length * SPAN_MS, spans.length * sizes.growthEvents)
        spans.push(span)
        note(`month ${spans.length} of ${STEPS.at(-1)}, ${eventsIn(span)} events`)
        await fillSpan(world.store, world.tenantId, span)
        bulk.cpuUs += (await costOf(() => rebuildAll(world.store, world.tenantId))).cpuUs
        bulk.events += eventsStored(span)
      }
      await untilMerged(world.store)
      note(`measuring at ${months} months`)
      found.push(await measureAt(world, sizes, spans, probe, bulk.cpuUs / bulk.events))
    }
    return factsOf(mode, found)
  } finally {
    await world.close()
  }
}

async function measureAt(
  world: HistoryWorld,
  sizes: Sizes,
  spans: readonly Span[],
  probe: Probe,
  bulkRebuildUs: number,
): Promise<AtSize> {
  const [first] = spans
  if (!first) throw new Error('There is no month to ask for: this is a bug in the bench')
  const { pumpUs, rebuildUs, oneShardMs } = await withoutMerges(world.store, () => probeAll(world, sizes, first, probe))
  const merged = await costOf(() => untilMerged(world.store))
  await askMonths(world, first, 1)
  const asked = await askMonths(world, first, sizes.usageQueries)
  return {
    events: spans.reduce((sum, span) => sum + eventsIn(span), 0),
    pumpUs,
    rebuildUs,
    mergeUs: merged.cpuUs / (sizes.probes * sizes.eventsPerProbe),
    bulkRebuildUs,
    oneShardMs,
    queryMs: median(asked.map(({ cpuUs }) => cpuUs / 1_000)),
    queryWallP99Ms: percentileOf(
      asked.map(({ wallMs }) => wallMs),
      0.99,
    ),
  }
}

async function probeAll(world: HistoryWorld, sizes: Sizes, first: Span, probe: Probe) {
  const pumped: number[] = []
  const rebuilt: number[] = []
  for (let round = 0; round < sizes.probes; round++) {
    const [pump, rebuild] = await probeOnce(world, sizes, probe)
    pumped.push(pump.cpuUs / sizes.eventsPerProbe)
    rebuilt.push(rebuild.cpuUs / sizes.eventsPerProbe)
  }
  const oneShard: number[] = []
  for (let place = 0; place < Math.min(ONE_SHARD_TRIES, first.slices); place++)
    oneShard.push((await rebuildOne(world, probe, sliceStartMs(first, place))).cpuUs / 1_000)
  return { pumpUs: median(pumped), rebuildUs: median(rebuilt), oneShardMs: median(oneShard) }
}

/** New traffic in new slices, as the pump stores it and as it is rebuilt once. */
async function probeOnce(world: HistoryWorld, sizes: Sizes, probe: Probe): Promise<[Cost, Cost]> {
  const startMs = probe.nextMs
  const timeMsOf = (index: number) => startMs + Math.floor((index * SHARD_SLICE_MS) / EVENTS_PER_PROBED_SLICE)
  const events = encodedEvents(sizes.eventsPerProbe, world.tenantId, PARTITIONS, timeMsOf)
  probe.nextMs += Math.ceil(sizes.eventsPerProbe / EVENTS_PER_PROBED_SLICE) * SHARD_SLICE_MS
  const inserts: LogRow[][] = []
  for (let from = 0; from < events.length; from += sizes.eventsPerInsert)
    inserts.push(probe.records.next(events.slice(from, from + sizes.eventsPerInsert)))
  const pump = await costOf(async () => {
    for (const rows of inserts) await insertRecords(world.store, probe.log, rows)
  })
  return [pump, await costOf(() => rebuildAll(world.store, world.tenantId))]
}

/** One late event into a shard of the first month. */
async function rebuildOne({ store, tenantId }: HistoryWorld, { records, log }: Probe, timeMs: number): Promise<Cost> {
  await insertRecords(store, log, records.next(encodedEvents(1, tenantId, PARTITIONS, () => timeMs)))
  const { answer, ...cost } = await costOf(() => rebuildAll(store, tenantId))
  if (answer !== 1) throw new Error(`${answer} shards were rebuilt for one late event instead of one`)
  return cost
}

function factsOf(mode: Fact['mode'], found: readonly AtSize[]): Fact[] {
  const fact = (what: string, value: number, unit: string, detail: Fact['detail'], target?: string): Fact => {
    return { mode, figure: 'growth', what, value, unit, ...(detail ? { detail } : {}), ...(target ? { target } : {}) }
  }
  const [base] = found
  const grown = (of: (size: AtSize) => number) => {
    const least = Math.min(...found.map(of))
    return base && least > 0
      ? (Math.max(...found.map((one) => Math.abs(of(one) / of(base) - 1))) || 0) * 100
      : Number.NaN
  }
  const eventUs = (one: AtSize) => one.pumpUs + one.rebuildUs
  return [
    ...found.flatMap((one) => {
      const size = `${one.events.toLocaleString('en')} events stored`
      return [
        fact(`${size}: a new event, pump and rebuild, CPU`, eventUs(one), 'µs', { ...one }),
        fact(`${size}: merges afterwards, CPU a new event`, one.mergeUs, 'µs', { ...one }),
        fact(`${size}: rebuild of one shard, CPU`, one.oneShardMs, 'ms', { ...one }),
        fact(`${size}: question for a customer-month, CPU`, one.queryMs, 'ms', { ...one }),
      ]
    }),
    fact('a new event, furthest from the smallest size', grown(eventUs), '%', undefined, 'within ±15 %'),
    fact(
      'rebuild of one shard, furthest',
      grown((one) => one.oneShardMs),
      '%',
      undefined,
      'of its shard alone',
    ),
    fact(
      'question, furthest',
      grown((one) => one.queryMs),
      '%',
      undefined,
      'within ±15 %',
    ),
  ]
}
