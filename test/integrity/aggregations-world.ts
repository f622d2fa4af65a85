import { insertRecords } from '../../aggregator/pump/insert.clickhouse.ts'
import { dirtyShards, startRun, writeHeads, writeRollup } from '../../aggregator/rebuild/rebuild.clickhouse.ts'
import { runNumber } from '../../aggregator/rebuild/rebuild.ts'
import { readTotal, readUsage, type UsageQuery } from '../../aggregator/usage/usage.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import { encodeOperation } from '../../schemas/event/operation.ts'
import { formatQuantity, parseSum } from '../../schemas/quantity.ts'
import { windowStarts } from '../../schemas/time/period.ts'
import { copyMeter } from '../support/copy-meter.ts'
import { logRow, usageEvent } from '../support/log-events.ts'
import type { Random } from '../support/random.ts'
import {
  type Copy,
  type Counted,
  countedBy,
  type Data,
  effective,
  type Figure,
  figureOf,
  type MeterModel,
  type Payload,
} from './aggregations-model.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
export const START_MS = Date.UTC(2025, 2, 29, 22)
const END_MS = START_MS + 60 * HOUR_MS
const CHANGED_MS = START_MS + 20 * HOUR_MS
const call = { event_type: 'call', group_by: ['region'] }
const FILTER = {
  or: [
    { equals: { path: 'region', value: 'eu' } },
    { and: [{ exists: { path: 'key' } }, { not: { compare: { path: 'tokens', op: 'lt', value: '2.5' } } }] },
    { in: { path: 'key', values: ['5', true] } },
  ],
} as const
const always = (input: MeterModel['versions'][0]['input']) => [{ input, fromMs: 0 }]

export const METERS: MeterModel[] = [
  { slug: 'sum', versions: always({ ...call, aggregation: 'sum', value: 'tokens' }) },
  { slug: 'count', versions: always({ ...call, aggregation: 'count', filter: structuredClone(FILTER) as never }) },
  { slug: 'min', versions: always({ ...call, aggregation: 'min', value: 'tokens' }) },
  { slug: 'max', versions: always({ ...call, aggregation: 'max', value: 'tokens' }) },
  { slug: 'average', versions: always({ ...call, aggregation: 'average', value: 'tokens' }) },
  { slug: 'unique', versions: always({ ...call, aggregation: 'unique_count', value: 'key' }) },
  { slug: 'latest', versions: always({ ...call, aggregation: 'latest', value: 'tokens' }) },
  { slug: 'level', versions: always({ ...call, aggregation: 'time_weighted_sum', value: 'tokens' }) },
  { slug: 'worth', versions: always({ ...call, aggregation: 'time_weighted_sum', value: '(tokens - 4) * price / 7' }) },
  { slug: 'p90', versions: always({ ...call, aggregation: 'percentile', value: 'tokens', percentile: '90' }) },
  { slug: 'p0-1', versions: always({ ...call, aggregation: 'percentile', value: 'tokens', percentile: '0.1' }) },
  { slug: 'peaks', versions: always({ ...call, aggregation: 'max', value: 'tokens', window: 'hour' }) },
  { slug: 'daily', versions: always({ ...call, aggregation: 'max', value: 'tokens', window: 'day' }) },
  {
    slug: 'cost',
    versions: [
      { input: { ...call, aggregation: 'sum', value: '(tokens * price - 0.1 * price) / (tokens + 3)' }, fromMs: 0 },
      {
        input: {
          ...call,
          aggregation: 'sum',
          value: 'tokens * price * 0.000001',
          filter: structuredClone(FILTER) as never,
        },
        fromMs: CHANGED_MS,
      },
      { input: { ...call, event_type: 'job', aggregation: 'sum', value: 'tokens' }, fromMs: CHANGED_MS + 10 * HOUR_MS },
    ],
  },
]

/** A tenant on a real ClickHouse beside a plain list of all that came, and the questions that compare the two. */
export async function createAggregationsWorld(store: ClickHouseStore, tenant: number, random: Random) {
  const copies: Copy[] = []
  let [clockMs, offset, runs, revision] = [END_MS, 0, 0, 0]
  for (const { slug, versions } of METERS) {
    for (const [place, { input, fromMs }] of versions.entries()) {
      const change = { revision: ++revision, version: place + 1, effectiveFromMs: fromMs }
      await copyMeter(store, tenant, slug, input, change)
    }
  }
  const keys = Array.from({ length: 25 }, () => drawId(random))

  /** One event, copy or operation, as a record of its own or with others. */
  const draw = (): Copy => {
    const base = { key: random.pick(keys), knownAtMs: clockMs, order: copies.length }
    const said = copies.filter(({ operation }) => operation)
    if (random.chance(0.6)) return { ...base, event: drawPayload(random) }
    if (said.length > 0 && random.chance(0.3)) {
      const { key, operation } = random.pick(said)
      // A copy that says something else: the first one counts.
      return { ...base, key, operation: { id: operation!.id, replacement: drawReplacement(random) } }
    }
    return { ...base, operation: { id: `operation-${copies.length}`, replacement: drawReplacement(random) } }
  }
  const arrive = async () => {
    clockMs += random.pick([1, 1_000, 20 * MINUTE_MS, HOUR_MS])
    const drawn = Array.from({ length: 1 + random.below(12) }, () => {
      const copy = draw()
      copies.push(copy)
      return copy
    })
    const events = drawn.map((copy) => encoded(tenant, copy))
    await insertRecords(store, `log-${tenant}`, [logRow(events, { knownAtMs: clockMs, offset: offset++ })])
  }
  const rebuildSome = async () => {
    const dirty = (await dirtyShards(store, tenant, 1_000)).filter(() => random.chance(0.6))
    const { startedAtMs, revision: newest } = await startRun(store, tenant)
    const run = runNumber(startedAtMs, ++runs)
    await writeRollup(
      store,
      tenant,
      dirty.map(({ shard }) => shard),
      run,
    )
    await writeHeads(store, tenant, dirty, run, newest)
  }
  const ask = async (meter: MeterModel): Promise<string[]> => {
    const question = drawQuestion(tenant, meter, random, clockMs)
    const right = answer(meter, question, copies)
    const rows = await readUsage(store, question)
    const found = new Map(
      rows.map((row) => [JSON.stringify([row.startMs, row.subject, ...row.groupValues]), shown(row)]),
    )
    const total = shown(await readTotal(store, question))
    const problem = (what: string, is: unknown, should: unknown) =>
      JSON.stringify(is) === JSON.stringify(should)
        ? []
        : [
            `${meter.slug}, ${what}: ${JSON.stringify(is)} instead of ${JSON.stringify(should)}, asked ${JSON.stringify(question)}`,
          ]
    return [
      ...problem('windows', [...found].sort(), [...right.windows].sort()),
      ...problem('total', total, right.total),
    ]
  }
  return { arrive, rebuildSome, ask, copies }
}

type Question = UsageQuery & { endsMs: number[] }

function drawQuestion(tenant: number, meter: MeterModel, random: Random, clockMs: number): Question {
  const fromMs = START_MS + random.below(40 * 60) * MINUTE_MS
  const toMs = Math.min(END_MS, fromMs + (1 + random.below(30 * 60)) * MINUTE_MS)
  const zone = random.pick(['UTC', 'Europe/Berlin', 'Asia/Kathmandu'])
  const startsMs = random.chance(0.3)
    ? [fromMs]
    : windowStarts(fromMs, toMs, random.pick(['hour', 'day', 'week', 'month']), zone)
  const { aggregation, window, percentile } = meter.versions[0]!.input
  return {
    tenant,
    meter: meter.slug,
    aggregated: { aggregation, window, percentile },
    subjects: random.pick([[], ['s1'], ['s1', 's2']]),
    fromMs,
    toMs,
    asOfMs: random.pick([
      KNOWN_UNTIL_NOW_MS,
      clockMs + 1,
      pastMs(random, clockMs),
      floorToHour(pastMs(random, clockMs)),
    ]),
    startsMs,
    endsMs: startsMs.map((_, place) => Math.min(startsMs[place + 1] ?? toMs, toMs)),
    groups: random.pick([[], [1]]),
    bySubject: random.chance(0.5),
  }
}

const pastMs = (random: Random, clockMs: number) => END_MS + random.below(clockMs - END_MS + 1)
const floorToHour = (ms: number) => Math.floor(ms / HOUR_MS) * HOUR_MS

function answer(
  meter: MeterModel,
  question: Question,
  copies: readonly Copy[],
): { windows: Map<string, Figure>; total: Figure } {
  const { input } = meter.versions[0]!
  const { fromMs, toMs, subjects } = question
  const level = input.aggregation === 'time_weighted_sum'
  const counted = countedBy(meter, effective(copies, question.asOfMs!)).filter(
    ({ subject, timeMs }) =>
      (subjects.length === 0 || subjects.includes(subject)) && timeMs < toMs && (level || timeMs >= fromMs),
  )
  const windows = new Map<string, Figure>()
  for (const [place, windowMs] of question.startsMs.entries()) {
    const [startMs, endMs] = [Math.max(windowMs, fromMs), question.endsMs[place]!]
    const here = counted.filter(({ timeMs }) => timeMs < endMs && (level || timeMs >= startMs))
    for (const group of new Set(here.map((row) => groupOf(question, row)))) {
      const rows = here.filter((row) => groupOf(question, row) === group)
      windows.set(JSON.stringify([windowMs, ...(JSON.parse(group) as string[])]), figureOf(input, rows, startMs, endMs))
    }
  }
  return { windows, total: figureOf(input, counted, fromMs, toMs) }
}

function groupOf({ bySubject, groups }: Question, { subject, region }: Counted): string {
  return JSON.stringify([bySubject ? subject : '', ...(groups.length > 0 ? [region] : [])])
}

function shown({ quantity, events }: { quantity: string; events: string }): Figure {
  return { quantity: formatQuantity(parseSum(quantity)), events: Number(events) }
}

function drawPayload(random: Random): Payload {
  const tokens = random.pick<unknown>([
    ...[
      random.below(9),
      random.below(9),
      random.below(900) / 100,
      `${random.below(9)}.000000000001`,
      '12345678901234567890',
    ],
    ...[undefined, null, 'none', -3, -random.below(900) / 100, '-7.000000000001', [1], true],
  ])
  const data: Data = {
    ...(tokens === undefined ? {} : { tokens }),
    ...random.pick<Data>([{ price: 3 }, { price: '0.333333333333' }, {}, { price: 'x' }]),
    ...random.pick<Data>([{ region: 'eu' }, { region: 'us' }, {}]),
    ...random.pick<Data>([
      { key: 'a' },
      { key: '5' },
      { key: 5 },
      { key: true },
      { key: {} },
      { key: null },
      { key: '' },
      {},
    ]),
  }
  const timeMs = START_MS + random.pick([random.below(60 * HOUR_MS), random.below(120) * 30 * MINUTE_MS])
  return { type: random.pick(['call', 'call', 'call', 'job']), subject: random.pick(['s1', 's2', 's3']), timeMs, data }
}

function drawReplacement(random: Random): Payload | undefined {
  return random.chance(0.5) ? undefined : drawPayload(random)
}

/** Some UUIDv7 of few slices, so that shards hold several events; the rest is opaque. */
function drawId(random: Random): string {
  if (random.chance(0.3)) return `id-${random.hex(6)}`
  const time = (START_MS + random.below(3) * 10_000).toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.hex(3)}-8${random.hex(3)}-${random.hex(12)}`
}

function encoded(tenant: number, { key, event, operation, order }: Copy) {
  if (event) return usageEvent(key, { tenant, ...event })
  const { id, replacement } = operation!
  const data = encodeOperation({
    ...{ operation: id, reason: `said ${order}`, by: 'test' },
    ...(replacement ? { replacement: { ...replacement, dataJson: JSON.stringify(replacement.data) } } : {}),
  })
  const type = replacement ? 'tallyline.replace' : 'tallyline.void'
  return { ...usageEvent(key, { tenant, type, subject: '', timeMs: END_MS + order }), data }
}
