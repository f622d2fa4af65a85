import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { insertRecords } from '../../../../aggregator/pump/insert.clickhouse.ts'
import { createCounterLoader } from '../../../../ingest/quota/loader.ts'
import type { CounterKey, QuotaItem, QuotaStore } from '../../../../ingest/quota/quota-store.ts'
import type { CompareDeps } from '../../../../ingest/quota/reconcile/compare.ts'
import { TOO_HIGH_STANDS_MS } from '../../../../ingest/quota/reconcile/drift.ts'
import { explain } from '../../../../ingest/quota/reconcile/explain.ts'
import { createReconciler, type Difference, type Reconciler } from '../../../../ingest/quota/reconcile/reconciler.ts'
import type { ClickHouseStore } from '../../../../schemas/clickhouse/store.ts'
import { encodeOperation, VOID_TYPE } from '../../../../schemas/event/operation.ts'
import { copyMeter } from '../../../support/copy-meter.ts'
import { type EmbeddedLog, openEmbeddedLog, PARTITIONS } from '../../../support/embedded-stores.ts'
import { type EventChange, NOVEMBER_20, recordsOf, usageEvent } from '../../../support/log-events.ts'

export type Plantable = {
  quota: QuotaStore
  /** Sets a counter behind everybody's back. */
  plant(counter: CounterKey, micro: bigint): Promise<void>
  flush(): Promise<void>
  close(): Promise<void>
}

/** Of all suites on one usage. */
let tenant = 0
let made = 0

const MINUTE_MS = 60_000
const UNIT = 1_000_000n
const FAR = 10n ** 30n
const TOKENS = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' } as const
const NOVEMBER = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
const DAY = { startMs: Date.UTC(2026, 10, 20), endMs: Date.UTC(2026, 10, 21) }

/**
 * HC-5, issue 6, ops/decisions/0022-reconciliation.md: wrong counters are planted, found, explained and corrected, and
 * right ones are left alone whatever is under way. On the embedded log and usage.
 */
export function describePlantedCounters(
  name: string,
  usage: () => ClickHouseStore,
  open: (log: EmbeddedLog, now: () => number) => Promise<Plantable>,
): void {
  describe(`counters and usage: ${name}`, () => {
    let store: ClickHouseStore
    let log: EmbeddedLog
    let planted: Plantable
    let quota: QuotaStore
    let deps: CompareDeps
    let reconciler: Reconciler
    let nowMs: number
    let failures: string[]
    let customers: Map<string, string[]>
    /** Next offset of each partition. */
    let stored: number[]

    beforeEach(async () => {
      store = usage()
      nowMs = NOVEMBER_20
      stored = Array(PARTITIONS).fill(0)
      log = await openEmbeddedLog(() => nowMs)
      planted = await open(log, () => nowMs)
      quota = planted.quota
      await newTenant()
      failures = []
      customers = new Map()
      deps = {
        quota,
        usage: store,
        subjectsOf: async (_tenant, ids) => new Map([...customers].filter(([id]) => ids.includes(id))),
        writer: log.writer,
        now: () => nowMs,
        failed: (error) => failures.push(String(error)),
      }
      reconciler = newReconciler()
    })
    afterEach(async () => {
      await planted.close()
      await log.close()
    })

    const newReconciler = () => createReconciler(deps, { settleMs: 0, waitMs: 0, standsMs: TOO_HIGH_STANDS_MS })
    async function newTenant(): Promise<number> {
      await copyMeter(store, ++tenant, 'tokens', TOKENS, { revision: 1 })
      return tenant
    }
    const counter = (change: Partial<CounterKey> = {}): CounterKey => {
      return { tenant, subject: 'customer-1', meter: 'tokens', ...NOVEMBER, ...change }
    }
    const load = (key = counter(), usedMicro = 0n) => quota.load([{ counter: key, usedMicro }], nowMs)
    const draw = async (id: string, tokens: bigint, keys = [counter()], hold?: string): Promise<QuotaItem> => {
      const draws = keys.map((key) => ({ counter: key, micro: tokens * UNIT, limitMicro: FAR }))
      const item = { identity: `${tenant}\ntest\n${id}`, draws, ...(hold === undefined ? {} : { hold }) }
      await quota.draw([item], nowMs, true)
      return item
    }
    const append = async (id: string, change: EventChange = {}) =>
      log.writer.append(recordsOf([usageEvent(id, { tenant, ...change })], PARTITIONS))
    /** What the pump does. */
    const storeAll = async () => {
      const rows = await log.reader.read(stored, 1e9)
      if (rows.length > 0) await insertRecords(store, log.lmdb.logId, rows)
      for (const { partition, offset } of rows) stored[partition] = Math.max(stored[partition]!, offset + 1)
    }
    const take = async (tokens: bigint, keys = [counter()], subject = 'customer-1', hold?: string) => {
      const id = `e-${++made}`
      await draw(id, tokens, keys, hold)
      await append(id, { subject, data: { tokens: Number(tokens) } })
    }
    /** In units. */
    const used = async (key = counter()) => {
      const [living] = await quota.lookAt([key], nowMs)
      return living?.usedMicro === undefined ? undefined : Number(living.usedMicro) / 1e6
    }
    /** A minute's pass. Answers what is certain of the tenant. */
    const pass = async (correct = true, by = reconciler): Promise<Difference[]> => {
      await storeAll()
      nowMs += MINUTE_MS
      const { differences, failure } = await by.pass(correct)
      expect(failure).toBeUndefined()
      return differences.get(tenant) ?? []
    }
    const passes = async (count: number) => {
      for (let n = 1; n < count; n++) await pass()
      return pass()
    }
    const causeOf = async (difference: Difference | undefined) =>
      difference && [...(await explain(deps, [difference])).values()][0]

    test('right ones are equal: of subjects and windows, with holds, drawn from, released and over', async () => {
      const today = counter(DAY)
      for (const key of [counter(), today, counter({ subject: 'other' })]) await load(key)
      await take(5n, [counter(), today])
      await take(7n, [counter({ subject: 'other' })], 'other')
      const limits = [{ counter: counter(), limitMicro: FAR }]
      const ask = { tenant, subject: 'customer-1', meter: 'tokens', partly: false, lastsMs: 3_600_000, limits }
      for (const id of ['a', 'b']) await quota.hold({ ...ask, id, askedMicro: 10n * UNIT }, nowMs, true)
      await take(3n, [counter()], 'customer-1', 'a')
      await take(12n, [counter()], 'customer-1', 'b')
      await quota.release(tenant, 'a', nowMs)
      expect(await passes(3)).toEqual([])
      expect(await used()).toBe(20)
      expect((await reconciler.pass(true)).counters).toBe(3)
    })

    test('one that is too low is raised by the second pass that sees it', async () => {
      await load()
      await take(10n)
      await planted.plant(counter(), 4n * UNIT)
      expect(await pass()).toEqual([])
      expect(await used()).toBe(4)
      const [found, ...more] = await pass()
      expect([found, ...more]).toMatchObject([
        {
          ...{ counter: counter(), usedMicro: 4n * UNIT, usageMicro: 10n * UNIT, heldMicro: 0n },
          ...{ driftMicro: -6n * UNIT, state: 'corrected', isNew: true },
        },
      ])
      expect(await causeOf(found)).toMatch(/^stored and not drawn/)
      expect(await used()).toBe(10)
      expect(await passes(2)).toEqual([])
    })

    test('one that is too high is told, and lowered when nothing of it can come any more', async () => {
      await load()
      await take(10n)
      await planted.plant(counter(), 25n * UNIT)
      expect(await pass()).toEqual([])
      expect(await pass()).toMatchObject([{ driftMicro: 15n * UNIT, state: 'stands', isNew: true }])
      expect(await pass()).toMatchObject([{ driftMicro: 15n * UNIT, state: 'stands', isNew: false }])
      nowMs += TOO_HIGH_STANDS_MS - 3 * MINUTE_MS
      const [found] = await pass()
      expect(found).toMatchObject({ driftMicro: 15n * UNIT, state: 'corrected' })
      expect(await causeOf(found)).toMatch(/^drawn and never stored/)
      expect(await used()).toBe(10)
      expect(await passes(2)).toEqual([])
    })

    test('after a flush there is nothing to compare; the next request loads what usage says, which is equal', async () => {
      await load()
      await take(10n)
      await planted.flush()
      await storeAll()
      expect((await reconciler.pass(true)).counters).toBe(0)
      const drain = async () => undefined
      await createCounterLoader({ ...deps, quota, writer: log.writer, drain })([counter()])
      expect(await used()).toBe(10)
      await take(1n)
      expect(await passes(3)).toEqual([])
    })

    test('one that began at nothing after a flush is raised', async () => {
      await load()
      await take(10n)
      await planted.flush()
      await load()
      await take(1n)
      await passes(2)
      expect(await used()).toBe(11)
    })

    test('what a hold has left is no difference, and stays held when the counter is corrected', async () => {
      await load()
      await take(10n)
      const limits = [{ counter: counter(), limitMicro: FAR }]
      const ask = { id: 'a', tenant, subject: 'customer-1', meter: 'tokens', partly: false, lastsMs: 3_600_000, limits }
      await quota.hold({ ...ask, askedMicro: 8n * UNIT }, nowMs, true)
      await take(3n, [counter()], 'customer-1', 'a')
      await planted.plant(counter(), 12n * UNIT)
      await pass()
      expect(await pass()).toMatchObject([{ heldMicro: 5n * UNIT, usageMicro: 13n * UNIT, driftMicro: -6n * UNIT }])
      expect(await used()).toBe(18)
      await quota.release(tenant, 'a', nowMs)
      expect(await used()).toBe(13)
      expect(await pass()).toEqual([])
    })

    test('what is under way is never taken off, however long it takes to be stored', async () => {
      await load()
      await take(10n)
      await draw('slow', 5n)
      await passes(10)
      expect(await used()).toBe(15)
      await append('slow', { data: { tokens: 5 } })
      expect(await passes(3)).toEqual([])
      expect(await used()).toBe(15)
    })

    test('what was drawn and never came is taken off, beside traffic that goes on', async () => {
      await load()
      await draw('lost', 5n)
      for (let minute = 0; minute < 12; minute++) {
        await take(1n)
        await pass()
        expect(await used()).toBe(5 + minute + 1)
      }
      // When it pauses: first what had been drawn before it did, then what remains.
      for (let n = 0; n < 2; n++) {
        nowMs += TOO_HIGH_STANDS_MS
        await passes(2)
      }
      expect(await used()).toBe(12)
    })

    test('a void gives nothing back: it is told as the cause, and the counter ends at what usage says', async () => {
      await load()
      await take(10n)
      const voided = `e-${++made}`
      await draw(voided, 4n)
      await append(voided, { data: { tokens: 4 } })
      const said = { operation: 'op-1', reason: 'a mistake', by: 'k' }
      await append(voided, { type: VOID_TYPE, subject: '', data: JSON.parse(encodeOperation(said)) })
      await pass()
      const [found] = await pass()
      expect(found).toMatchObject({ driftMicro: 4n * UNIT, state: 'stands' })
      expect(await causeOf(found)).toMatch(/^1 event of it was voided or replaced/)
      nowMs += TOO_HIGH_STANDS_MS
      await pass()
      expect(await used()).toBe(10)
    })

    test('the counter of a customer is compared with what all its subjects used', async () => {
      const id = '0198f0a0-0000-7000-8000-000000000001'
      const shared = counter({ subject: id, ofCustomer: true })
      customers.set(id, ['u-1', 'u-2'])
      await load(shared)
      await take(4n, [shared], 'u-1')
      await take(5n, [shared], 'u-2')
      expect(await passes(2)).toEqual([])
      await planted.plant(shared, 2n * UNIT)
      await passes(2)
      expect(await used(shared)).toBe(9)
    })

    test('each draw is rounded up to a micro-unit: so much too high is right', async () => {
      await load()
      for (let n = 0; n < 10; n++) {
        const id = `e-${++made}`
        const draws = [{ counter: counter(), micro: 1n, limitMicro: FAR }]
        await quota.draw([{ identity: `${tenant}\ntest\n${id}`, draws }], nowMs, true)
        await append(id, { data: { tokens: '0.00000001' } })
      }
      expect(await passes(3)).toEqual([])
      await planted.plant(counter(), 12n)
      await pass()
      expect(await pass()).toMatchObject([{ usageMicro: 1n, driftMicro: 11n }])
    })

    test('a draw just before the correction is not lost: the counter waits for the next pass', async () => {
      await load()
      await take(10n)
      await planted.plant(counter(), 4n * UNIT)
      let late = 0
      const correct: QuotaStore['correct'] = async (...args) => {
        if (++late === 1) await take(1n)
        return quota.correct(...args)
      }
      reconciler = createReconciler(
        { ...deps, quota: { ...quota, correct } },
        { settleMs: 0, waitMs: 0, standsMs: TOO_HIGH_STANDS_MS },
      )
      await pass()
      expect(await pass()).toMatchObject([{ state: 'changed' }])
      expect(await used()).toBe(5)
      expect(await pass()).toMatchObject([{ state: 'corrected', isNew: false }])
      expect(await used()).toBe(11)
    })

    test('only looking changes nothing', async () => {
      await load()
      await take(10n)
      await planted.plant(counter(), 4n * UNIT)
      for (let n = 0; n < 3; n++) await pass(false)
      expect(await pass(false)).toMatchObject([{ driftMicro: -6n * UNIT, state: 'stands' }])
      expect(await used()).toBe(4)
    })

    test('of one tenant, if only that is asked for', async () => {
      const mine = counter()
      await load(mine)
      await planted.plant(mine, 1n * UNIT)
      const other = await newTenant()
      await load()
      await planted.plant(counter(), 1n * UNIT)
      const options = { tenant: other, settleMs: 0, waitMs: 0, standsMs: 0 }
      const ofOther = createReconciler(deps, options)
      await pass(true, ofOther)
      expect(await pass(true, ofOther)).toMatchObject([{ counter: counter(), state: 'corrected' }])
      expect([await used(mine), await used()]).toEqual([1, 0])
    })

    test('usage that lags or is away fails the pass, and what was seen before it is seen anew', async () => {
      await load()
      await take(10n)
      await planted.plant(counter(), 4n * UNIT)
      await pass()
      await append('on its way', { subject: 'somebody', data: { tokens: 1 } })
      const { failure } = await reconciler.pass(true)
      expect(String(failure)).toContain('usage did not catch up with the log')
      expect(await pass()).toEqual([])
      expect(await pass()).toMatchObject([{ state: 'corrected' }])
    })

    test('a question that fails holds up no other tenant', async () => {
      const troubled = counter()
      await load(troubled)
      await newTenant()
      await load()
      await take(10n)
      await planted.plant(counter(), 4n * UNIT)
      const query: ClickHouseStore['query'] = async (sql, params) => {
        if (params?.usage_tenant === troubled.tenant) throw new Error('too much to read')
        return store.query(sql, params)
      }
      reconciler = createReconciler(
        { ...deps, usage: { ...store, query } },
        { settleMs: 0, waitMs: 0, standsMs: TOO_HIGH_STANDS_MS },
      )
      await passes(2)
      expect(await used()).toBe(10)
      expect(failures).toEqual(Array(2).fill('Error: too much to read'))
    })
  })
}
