import { afterAll, beforeAll, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { dirtyShards, startRun, writeHeads, writeRollup } from '../../../aggregator/rebuild/rebuild.clickhouse.ts'
import { runNumber } from '../../../aggregator/rebuild/rebuild.ts'
import { statementsOf } from '../../../ops/migrate/migrate.clickhouse.ts'
import { withUsage } from '../../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type ClickHouseParams, type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import { schemaFile } from '../../../schemas/files.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'
import { drawSeed, type Random, randomOf } from '../../support/random.ts'

const HOUR_MS = 3_600_000
const SUBJECTS = ['a', 'b', 'c']
/** One plain, one that is filtered, one whose quantities do not add up. */
const METERS = {
  tokens: { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' },
  large: {
    event_type: 'llm.request',
    aggregation: 'count',
    filter: { compare: { path: 'tokens', op: 'gte', value: '50' } },
  },
  peak: { event_type: 'llm.request', aggregation: 'max', value: 'tokens' },
} as const
const TENANT = 1

const seed = drawSeed('usage from shards')
let store: ClickHouseStore
beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())

/** The view has no other rule of counting than the one that everybody else reads. */
test('usage_from_shards is the part of usage_rows that reads events, word for word', () => {
  const viewOf = (file: string, name: string) =>
    statementsOf(schemaFile(file)).find((sql) => sql.includes(` ${name} AS\n`)) ?? ''
  const rows = viewOf('clickhouse/0011-level-changes.sql', 'usage_rows')
  const fromShards = viewOf('clickhouse/0013-usage-of-shards.sql', 'usage_from_shards')
  const behind = (text: string, mark: string) => text.slice(text.indexOf(mark) + mark.length)
  const wanted = behind(rows, '\nUNION ALL\n').replace(
    'IN if(empty({shards:Array(UInt64)}), live, {shards:Array(UInt64)})',
    'IN {shards:Array(UInt64)}',
  )
  expect(wanted.length).toBeGreaterThan(1_000)
  expect(behind(fromShards, ') AS definitions\n')).toBe(wanted)
})

/** Voids, replacements, copies that contradict, late ones, in several shards, some of them rebuilt, some since changed. */
test('usage as it is read is what the view usage_rows says, for all meters, subjects and moments', async () => {
  const random = randomOf(seed)
  for (const [index, [slug, input]] of Object.entries(METERS).entries()) {
    await copyMeter(store, TENANT, slug, input, { revision: index + 1 })
  }
  for (let round = 0; round < 3; round++) {
    const rows = [0, 1].map((one) => {
      const knownAtMs = NOVEMBER_20 + round * HOUR_MS + one * 1_000
      return logRow(
        Array.from({ length: 25 }, () => anything(random)),
        { knownAtMs, offset: 2 * round + one },
      )
    })
    await insertRecords(store, 'log', rows)
    if (round > 0) await rebuildSome(random, round)
    for (const asOfMs of [KNOWN_UNTIL_NOW_MS, NOVEMBER_20 + (round - 0.5) * HOUR_MS]) {
      for (const subjects of [['a', 'b'], 'everything'] as const) {
        const asked = { asOfMs, subjects }
        expect(await asRead(asked), `seed ${seed}, round ${round}`).toEqual(await asTheViewSays(asked))
      }
    }
  }
}, 600_000)

/** Of forty identities in the shards of opaque ids, which are many. */
function anything(random: Random) {
  const id = `id-${random.below(40)}`
  const event = usageEvent(id, {
    subject: random.pick(SUBJECTS),
    timeMs: NOVEMBER_20 - random.below(3) * HOUR_MS,
    data: { tokens: random.below(100) },
  })
  const kind = random.below(10)
  const operation = `operation-${random.below(1_000)}`
  if (kind === 0) return { ...event, type: 'tallyline.void', subject: '', data: JSON.stringify({ operation }) }
  if (kind > 1) return event
  const { type, subject, timeMs } = event
  const to = { type, subject, time: new Date(timeMs).toISOString(), data: { tokens: random.below(100) } }
  return { ...event, type: 'tallyline.replace', subject: '', data: JSON.stringify({ operation, ...to }) }
}

async function rebuildSome(random: Random, round: number): Promise<void> {
  const dirty = (await dirtyShards(store, TENANT, 1_000)).filter(() => random.below(3) > 0)
  const { startedAtMs, revision } = await startRun(store, TENANT)
  const run = runNumber(startedAtMs, round)
  await writeRollup(
    store,
    TENANT,
    dirty.map(({ shard }) => shard),
    run,
  )
  await writeHeads(store, TENANT, dirty, run, revision)
}

type Asked = { asOfMs: number; subjects: readonly string[] | 'everything' }
const summed = (table: string) => `
  SELECT meter, subject, toString(sumIf(quantity, meter != 'peak')) AS total_text, toString(max(quantity)) AS most_text,
    toString(sum(usage.events)) AS events_text, toString(sumWithOverflow(digest)) AS digest_text
  FROM ${table} AS usage GROUP BY meter, subject HAVING sum(usage.events) > 0 ORDER BY meter, subject`

/** Meter by meter and all at once: both are asked for. */
async function asRead({ asOfMs, subjects }: Asked): Promise<unknown[]> {
  const slugs = Object.keys(METERS).sort()
  const ask = (meters: readonly string[]) =>
    withUsage(store, { tenant: TENANT, meters, asOfMs }, (usageOf) => {
      const { sql, params } = usageOf({ subjects })
      return store.query(summed(sql), params)
    })
  const alone: unknown[] = []
  for (const slug of slugs) alone.push(...(await ask([slug])))
  expect(await ask(slugs)).toEqual(alone)
  return alone
}

function asTheViewSays({ asOfMs, subjects }: Asked): Promise<unknown[]> {
  const rows = `usage_rows(tenant = {tenant:UInt32}, meter = '*', as_of_ms = {as_of:Int64}, shards = [])`
  const params: ClickHouseParams = { tenant: TENANT, as_of: asOfMs }
  if (subjects === 'everything') return store.query(summed(`(SELECT * FROM ${rows} WHERE meter != '')`), params)
  const table = `(SELECT * FROM ${rows} WHERE meter != '' AND subject IN {subjects:Array(String)})`
  return store.query(summed(table), { ...params, subjects })
}
