import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { createBatcher, DEFAULT_BATCHER_LIMITS } from '../../../ingest/append/batcher.ts'
import { spanOf } from '../../../ingest/quota/counter-groups.ts'
import { createCounterLoader } from '../../../ingest/quota/loader.ts'
import { type CounterKey, counterId } from '../../../ingest/quota/quota-store.ts'
import { usedMicro } from '../../../ingest/quota/usage.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { encodeEvent } from '../../../schemas/event/usage-event.ts'
import { copyMeter } from '../../support/copy-meter.ts'
import { type EmbeddedLog, openEmbeddedLog, openUsageStore, PARTITIONS } from '../../support/embedded-stores.ts'
import { NOVEMBER_20, usageEvent } from '../../support/log-events.ts'

const TOKENS = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' } as const

const UNIT = 1_000_000n
const LIMIT = 20n

let store: ClickHouseStore
let log: EmbeddedLog
let tenant = 0
let made = 0
let counter: CounterKey

beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())
beforeEach(async () => {
  log = await openEmbeddedLog(() => NOVEMBER_20)
  return () => log.close()
})

async function newTenant(): Promise<void> {
  tenant++
  const window = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
  counter = { tenant, subject: 'customer-1', meter: 'tokens', ...window }
  await copyMeter(store, tenant, 'tokens', TOKENS, { revision: 1 })
}

/** An ingest process: its own batcher, which sends when told, on the counters and the log that all share. */
function openProcess() {
  const { writer, quota } = log
  const batcher = createBatcher(writer, { ...DEFAULT_BATCHER_LIMITS, lingerMs: 2 ** 30 })
  const query: ClickHouseStore['query'] = async (sql, params) => {
    await insertRecords(store, log.lmdb.logId, await log.reader.read(Array(PARTITIONS).fill(0), 1e9))
    return store.query(sql, params)
  }
  const drain = async () => {
    await batcher.drain()
    one.underWay = 0n
  }
  const usage = { ...store, query }
  const subjectsOf = async () => new Map()
  const load = createCounterLoader({ quota, usage, subjectsOf, writer, drain, now: () => NOVEMBER_20 })
  const one = {
    /** What was drawn and is not in the log yet. */
    underWay: 0n,
    drain,
    /** What a request does: draw, load what is missing, hand over what was taken. Answers whether it was taken. */
    take: async (tokens: bigint): Promise<boolean> => {
      const event = usageEvent(`e-${made++}`, { tenant, data: { tokens: Number(tokens) } })
      const draws = [{ counter, micro: tokens * UNIT, limitMicro: LIMIT * UNIT }]
      for (;;) {
        const answer = await quota.draw([{ identity: event.id, draws }], NOVEMBER_20, true)
        if ('missing' in answer) await load(answer.missing)
        else if (!answer.decisions[0]?.taken) return false
        else break
      }
      void batcher.add([{ partition: 0, encoded: encodeEvent(event) }])
      one.underWay += tokens
      return true
    },
  }
  return one
}

/** What a flush of Redis does: counters and marks are gone. */
async function lose(): Promise<void> {
  await log.lmdb.quota.remove(`used\n${counterId(counter)}`)
}

const isLoaded = async () => log.lmdb.quota.get(`used\n${counterId(counter)}`) !== undefined
const used = async (): Promise<bigint> => {
  await insertRecords(store, log.lmdb.logId, await log.reader.read(Array(PARTITIONS).fill(0), 1e9))
  const used = await usedMicro(store, spanOf([counter]), ['customer-1'])
  return (used.get(counter.startMs)?.get('customer-1') ?? 0n) / UNIT
}

test('one process loses a counter: what it has taken counts, also what has not left it yet', async () => {
  await newTenant()
  const one = openProcess()
  expect(await one.take(15n)).toBe(true)
  await lose()
  expect(await one.take(6n)).toBe(false)
  expect(await one.take(5n)).toBe(true)
  await one.drain()
  expect(await used()).toBe(20n)
})

test('of two, what the other one has under way may be taken again, and no more', async () => {
  await newTenant()
  const [one, other] = [openProcess(), openProcess()]
  expect(await other.take(15n)).toBe(true)
  expect(await one.take(3n)).toBe(true)
  await one.drain()
  await lose()
  expect(await one.take(18n)).toBe(false)
  expect(await one.take(17n)).toBe(true)
  await Promise.all([one.drain(), other.drain()])
  expect(await used()).toBe(LIMIT + 15n)
})

/** design.md §6, decision 0004: the bound of what is taken beyond a limit when counters are lost. */
test('whatever happens, a limit is passed at most by what others had under way when a counter was loaded', async () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ by: fc.nat(2), take: fc.bigInt(1n, 9n) }) },
    { weight: 1, arbitrary: fc.record({ by: fc.nat(2), drain: fc.constant(true) }) },
    { weight: 2, arbitrary: fc.constant('lose' as const) },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
      await newTenant()
      const processes = [openProcess(), openProcess(), openProcess()]
      let bound = LIMIT
      for (const one of steps) {
        if (one === 'lose') await lose()
        else if ('drain' in one) await processes[one.by]!.drain()
        else {
          const others = processes.filter((_, place) => place !== one.by)
          if (!(await isLoaded())) bound += others.reduce((sum, { underWay }) => sum + underWay, 0n)
          await processes[one.by]!.take(one.take)
        }
      }
      await Promise.all(processes.map((one) => one.drain()))
      expect(await used()).toBeLessThanOrEqual(bound)
    }),
    { numRuns: 12 },
  )
})
