import { pino } from 'pino'
import { insertRecords } from '../../aggregator/pump/insert.clickhouse.ts'
import { advanceCheckpoint } from '../../aggregator/rebuild/checkpoint.ts'
import { cleanTenant, type RebuildDeps, rebuildTenant } from '../../aggregator/rebuild/rebuild.ts'
import { identityTotals } from '../../aggregator/seal/totals.clickhouse.ts'
import { withUsage } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type ClickHouseParams, type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import { identityKey, partitionOf, shardOf } from '../../schemas/event/identity.ts'
import { encodeBatch, type LogRow } from '../../schemas/event/usage-batch.avro.ts'
import { encodeEvent } from '../../schemas/event/usage-event.ts'
import { copyMeter } from '../support/copy-meter.ts'
import { type Random, randomOf } from '../support/random.ts'

/** A copy of an event as it came into the log. The first one of an identity is the one that counts. */
type Copy = {
  source: string
  id: string
  subject: string
  region: string
  micros: bigint
  timeMs: number
  timeGiven: boolean
  knownAtMs: number
}
type Seal = { knownBeforeMs: number; totals: { eventCount: string; digest: string } }

export type RebuildWorld = {
  /** Does something at random, then answers what is wrong with what can be read. */
  step(): Promise<string[]>
  /** The same, while so many readers read without a pause if it is something that must not change any number. */
  stepUnderReads(readers: number): Promise<string[]>
  /** Arrivals, a seal and two rebuilds in a row, for what must go wrong with a planted bug. */
  rebuildTwice(): Promise<string[]>
  counts: Record<string, number>
}

const PARTITIONS = 4
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const START_MS = Date.UTC(2025, 5, 10, 10, 7)
const METERS = { tokens: ['region'], calls: [] as string[], late: ['region'] }
type MeterName = keyof typeof METERS
/** ClickHouse notes its own time as that of a rebuild: a clock ahead of it finds every closed shard ripe. */
const AHEAD_MS = 2 * HOUR_MS

/**
 * A tenant on a real ClickHouse, and beside it a plain list of all copies. Both get the same copies, in records cut
 * anywhere, partition by partition at any speed; rebuilds, merges, replays and clean-ups come in between.
 */
export async function createRebuildWorld(store: ClickHouseStore, tenant: number, seed: number): Promise<RebuildWorld> {
  const random = randomOf(seed)
  const model = createModel(store, tenant)
  const log = createLog(store, tenant, random)
  const meters: MeterName[] = []
  const seals: Seal[] = []
  const counts: Record<string, number> = {}
  const stalled: (() => Promise<void>)[] = []
  let clockMs = START_MS
  let runs = 0
  let left = 0
  const deps: RebuildDeps = {
    store,
    logger: pino({ level: 'silent' }),
    now: () => Date.now() + AHEAD_MS,
    random20: () => ++runs,
  }
  const addMeter = async (name: MeterName) => {
    const input =
      name === 'calls'
        ? { event_type: 'call', aggregation: 'count' as const }
        : { event_type: 'call', aggregation: 'sum' as const, value: 'tokens', group_by: METERS[name] }
    await copyMeter(store, tenant, name, input, { revision: meters.push(name) })
  }
  await addMeter('tokens')
  await addMeter('calls')

  const actions: Record<string, () => Promise<unknown>> = {
    arrive: async () => {
      for (const copy of drawCopies(model.copies, random, clockMs)) {
        model.copies.push(copy)
        log.append(copy)
      }
      log.cut(clockMs)
    },
    store: async () => model.stored(await log.store(random)),
    replay: () => log.replay(random),
    rebuild: () => rebuildTenant(deps, tenant),
    checkpoint: () => advanceCheckpoint(store, tenant, 0),
    stall: () => rebuildTenant({ ...deps, store: stalledBeforeHeads(store, stalled) }, tenant),
    wake: async () => {
      await stalled.splice(random.below(stalled.length), 1)[0]?.()
    },
    clean: async () => {
      // No rebuild is under way here, so what lost may go at once.
      await cleanTenant(deps, tenant, -AHEAD_MS)
      left = await countLeftRows(store, tenant)
    },
    merge: () => store.command(`OPTIMIZE TABLE ${random.pick(MERGED_TABLES)} FINAL`),
    wait: async () => {
      clockMs += random.pick([1, 7 * MINUTE_MS, 40 * MINUTE_MS, HOUR_MS])
    },
    seal: async () => {
      model.stored(await log.storeAll())
      const knownBeforeMs = clockMs + 1
      seals.push({ knownBeforeMs, totals: await identityTotals(store, tenant, knownBeforeMs) })
    },
    meter: async () => {
      if (!meters.includes('late')) await addMeter('late')
    },
  }
  const act = async (name: string) => {
    counts[name] = (counts[name] ?? 0) + 1
    // Known at or after a seal's W is everything that comes after it: the log's clock stands at W or later.
    if (name === 'arrive') clockMs += random.pick([1, 900, 5 * MINUTE_MS])
    await actions[name]?.()
  }
  const examine = async (random: Random): Promise<string[]> => {
    const problems = left === 0 ? [] : [`the clean-up left ${left} rows that no head names`]
    for (const asOfMs of [KNOWN_UNTIL_NOW_MS, ...drawMoments(random, clockMs)]) {
      problems.push(...(await model.usageProblems(random.pick(meters), asOfMs)))
      problems.push(...(await model.totalsProblems(asOfMs)))
    }
    if (seals.length > 0) problems.push(...(await sealProblems(store, tenant, random.pick(seals))))
    return problems
  }
  return {
    counts,
    step: async () => {
      await act(random.pick(WEIGHTED_ACTIONS))
      return examine(random)
    },
    stepUnderReads: async (readers) => {
      const name = random.pick(WEIGHTED_ACTIONS)
      if (CHANGES_NUMBERS.includes(name)) readers = 0
      let acting = true
      const reads = Array.from({ length: readers }, async () => {
        const own = randomOf(random.below(2 ** 31))
        const problems: string[] = []
        for (; acting; counts.reads = (counts.reads ?? 0) + 1) problems.push(...(await examine(own)))
        return problems
      })
      await act(name).finally(() => {
        acting = false
      })
      return [...(await Promise.all(reads)).flat(), ...(await examine(random))]
    },
    rebuildTwice: async () => {
      for (const name of ['arrive', 'seal', 'rebuild', 'checkpoint', 'arrive', 'arrive', 'store', 'store', 'rebuild'])
        await act(name)
      return examine(random)
    },
  }
}

/** What comes into the log changes nothing before it is stored; a seal stores what is there. */
const CHANGES_NUMBERS = ['store', 'seal', 'meter']

/** A rebuilder that dies before its heads, or sleeps: what it would have written may be written at any later time. */
function stalledBeforeHeads(store: ClickHouseStore, stalled: (() => Promise<void>)[]): ClickHouseStore {
  return {
    ...store,
    command: async (sql, params) => {
      if (!sql.includes('INSERT INTO shard_heads')) return store.command(sql, params)
      stalled.push(() => store.command(sql, params))
    },
  }
}

const WEIGHTED_ACTIONS = [
  ...['arrive', 'arrive', 'arrive', 'arrive', 'store', 'store', 'store', 'store', 'rebuild', 'rebuild', 'rebuild'],
  ...[
    'replay',
    'clean',
    'merge',
    'wait',
    'wait',
    'seal',
    'meter',
    'stall',
    'stall',
    'wake',
    'wake',
    'checkpoint',
    'checkpoint',
  ],
]
const MERGED_TABLES = ['events', 'shard_changes', 'shard_heads', 'usage_rollup', 'ingest_ranges']

/** Moments W of the past: one inside an hour, one at a full hour. */
function drawMoments(random: Random, clockMs: number): number[] {
  const pastMs = START_MS + random.below(clockMs - START_MS + 1)
  const anotherMs = START_MS + random.below(clockMs - START_MS + HOUR_MS)
  return [pastMs, Math.floor(anotherMs / HOUR_MS) * HOUR_MS]
}

async function countLeftRows(store: ClickHouseStore, tenant: number): Promise<number> {
  const [row] = await store.query<{ left_rows: number }>(
    `SELECT toUInt32(count()) AS left_rows FROM usage_rollup
     WHERE tenant = {tenant:UInt32} AND (shard, run) NOT IN (SELECT shard, run FROM shard_state(tenant = {tenant:UInt32}))`,
    { tenant },
  )
  return row?.left_rows ?? -1
}

/** A seal is for ever: later events and copies are known at W or later. */
async function sealProblems(store: ClickHouseStore, tenant: number, seal: Seal): Promise<string[]> {
  return differences(
    `the seal of ${iso(seal.knownBeforeMs)}`,
    seal.totals,
    await identityTotals(store, tenant, seal.knownBeforeMs),
  )
}

/** New events, and copies of earlier ones: the same, or with other content or another time, which never counts. */
function drawCopies(earlier: readonly Copy[], random: Random, knownAtMs: number): Copy[] {
  return Array.from({ length: 1 + random.below(25) }, () => {
    const fresh: Copy = {
      source: random.pick(['a', 'b']),
      id: drawId(random),
      subject: random.pick(['s1', 's2', 's3']),
      region: random.pick(['eu', 'us']),
      micros: BigInt(random.below(5_000_000)),
      timeMs: START_MS + random.below(5 * HOUR_MS),
      timeGiven: random.chance(0.7),
      knownAtMs,
    }
    if (earlier.length === 0 || random.chance(0.6)) return fresh
    const first = random.pick(earlier)
    const content = random.pick([first, { ...first, timeMs: fresh.timeMs }, { ...fresh, timeGiven: false }, fresh])
    return { ...content, source: first.source, id: first.id, knownAtMs }
  })
}

/** A third are UUIDv7 of a few slices, so that shards hold several events; the rest is opaque. */
function drawId(random: Random): string {
  if (random.chance(0.5)) return `id-${random.hex(6)}`
  const time = (START_MS + random.below(6) * 10_000).toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.hex(3)}-8${random.hex(3)}-${random.hex(12)}`
}

/** The log: records are cut as events come, and stored later, each partition in its order. */
function createLog(store: ClickHouseStore, tenant: number, random: Random) {
  const logId = `log-${tenant}`
  const open: Copy[][] = Array.from({ length: PARTITIONS }, () => [])
  const waiting: { row: LogRow; copies: Copy[] }[][] = Array.from({ length: PARTITIONS }, () => [])
  const ends = Array.from({ length: PARTITIONS }, () => 0)
  const done: LogRow[] = []
  const encode = (copies: readonly Copy[]) =>
    encodeBatch(
      copies.map(({ source, id, subject, timeMs, timeGiven, ...content }) => {
        const data = `{"tokens":${decimal(content.micros)},"region":"${content.region}"}`
        const identity = { tenant, source, id }
        return encodeEvent({ ...identity, shard: shardOf(identity), type: 'call', subject, timeMs, timeGiven, data })
      }),
    )
  const storeSome = async (some: { row: LogRow; copies: Copy[] }[]) => {
    if (some.length > 0) {
      await insertRecords(
        store,
        logId,
        some.map(({ row }) => row),
      )
    }
    done.push(...some.map(({ row }) => row))
    return some.flatMap(({ copies }) => copies)
  }
  return {
    append: (copy: Copy) => open[partitionOf({ tenant, ...copy }, PARTITIONS)]?.push(copy),
    cut: (knownAtMs: number) =>
      open.forEach((copies, partition) => {
        while (copies.length > 0) {
          const part = copies.splice(0, 1 + random.below(8))
          const offset = ends[partition]!++
          waiting[partition]?.push({ row: { knownAtMs, partition, offset, batch: encode(part) }, copies: part })
        }
      }),
    store: (by: Random) => storeSome(waiting.flatMap((queue) => queue.splice(0, by.below(queue.length + 1)))),
    storeAll: () => storeSome(waiting.flatMap((queue) => queue.splice(0))),
    /** What a crash between insert and progress does: the same records again. */
    replay: async (by: Random) => {
      if (done.length > 0) await insertRecords(store, logId, done.slice(by.below(done.length)).slice(0, 5))
    },
  }
}

/** The naive answer: go through all stored copies, keep the first of each identity, add up. */
function createModel(store: ClickHouseStore, tenant: number) {
  const copies: Copy[] = []
  const firsts = new Map<string, Copy>()
  const hashes = new Map<string, bigint>()
  const known = (asOfMs: number) => [...firsts.values()].filter(({ knownAtMs }) => knownAtMs < asOfMs)
  const digestOf = async (some: readonly Copy[]) => {
    const missing = some.filter((copy) => !hashes.has(keyOf(tenant, copy)))
    if (missing.length > 0) {
      const rows = await store.query<{ hash: string }>(
        `SELECT toString(reinterpretAsUInt128(sipHash128Reference({tenant:UInt32}, identity.1, identity.2))) AS hash
         FROM (SELECT arrayJoin(arrayZip({sources:Array(String)}, {ids:Array(String)})) AS identity)`,
        { tenant, sources: missing.map(({ source }) => source), ids: missing.map(({ id }) => id) },
      )
      for (const [place, copy] of missing.entries()) hashes.set(keyOf(tenant, copy), BigInt(rows[place]?.hash ?? ''))
    }
    return some.reduce((sum, copy) => (sum + hashes.get(keyOf(tenant, copy))!) % (1n << 128n), 0n)
  }
  return {
    /** Everything that came, stored or not. */
    copies,
    stored: (some: readonly Copy[]) => {
      for (const copy of some) if (!firsts.has(keyOf(tenant, copy))) firsts.set(keyOf(tenant, copy), copy)
    },
    totalsProblems: async (asOfMs: number): Promise<string[]> => {
      const right = { eventCount: String(known(asOfMs).length), digest: String(await digestOf(known(asOfMs))) }
      return differences(`totals as of ${iso(asOfMs)}`, right, await identityTotals(store, tenant, asOfMs))
    },
    usageProblems: async (meter: MeterName, asOfMs: number): Promise<string[]> => {
      const groups = new Map<string, Copy[]>()
      for (const copy of known(asOfMs)) {
        const region = METERS[meter].length > 0 ? copy.region : ''
        const group = `${copy.subject} ${Math.floor(copy.timeMs / HOUR_MS)} ${region}`
        groups.set(group, [...(groups.get(group) ?? []), copy])
      }
      const right: Record<string, string> = {}
      for (const [group, some] of groups) {
        const micros = some.reduce((sum, copy) => sum + (meter === 'calls' ? 1_000_000n : copy.micros), 0n)
        right[group] = `${micros} of ${some.length}, ${await digestOf(some)}`
      }
      const filter = { fromMs: FROM_MS, toMs: TO_MS, subjects: 'everything' as const }
      const seen = await withUsage(store, { tenant, meters: [meter], asOfMs }, (usageOf) => {
        const { sql, params } = usageOf(filter)
        return readUsage(store, sql, params)
      })
      const problems = differences(`${meter} as of ${iso(asOfMs)}`, right, seen)
      // The view for analysts says the same. It takes long to plan.
      if (asOfMs !== KNOWN_UNTIL_NOW_MS) return problems
      const shown = await readUsage(store, EXACT_USAGE, { tenant, meter, from: FROM_MS, to: TO_MS, as_of: asOfMs })
      return [...problems, ...differences(`${meter} in the view`, right, shown)]
    },
  }
}

const FROM_MS = START_MS - HOUR_MS
const TO_MS = START_MS - (START_MS % MINUTE_MS) + 10 * HOUR_MS
const EXACT_USAGE = `exact_usage(tenant = {tenant:UInt32}, meter = {meter:String}, from_ms = {from:Int64},
  to_ms = {to:Int64}, as_of_ms = {as_of:Int64})`

async function readUsage(store: ClickHouseStore, from: string, params: ClickHouseParams) {
  const rows = await store.query<{ grp: string; micros: string; events: string; digest: string }>(
    `SELECT concat(subject, ' ', toString(intDiv(toUnixTimestamp(bucket), 3600)), ' ', arrayStringConcat(group_values, '/')) AS grp,
       toString(toInt64(sum(quantity) * 1000000)) AS micros, toString(sum(events)) AS events,
       toString(sumWithOverflow(digest)) AS digest
     FROM ${from}
     GROUP BY grp`,
    params,
  )
  return Object.fromEntries(rows.map((row) => [row.grp, `${row.micros} of ${row.events}, ${row.digest}`]))
}

function differences(what: string, right: Record<string, string>, seen: Record<string, string>): string[] {
  return [...new Set([...Object.keys(right), ...Object.keys(seen)])]
    .filter((name) => right[name] !== seen[name])
    .map((name) => `${what}: ${name} is ${seen[name]} instead of ${right[name]}`)
}

function keyOf(tenant: number, { source, id }: Copy): string {
  return identityKey({ tenant, source, id })
}

function decimal(micros: bigint): string {
  return `${micros / 1_000_000n}.${String(micros % 1_000_000n).padStart(6, '0')}`
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
