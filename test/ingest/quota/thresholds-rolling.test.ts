import type { Pool } from 'pg'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { drawsFor } from '../../../ingest/quota/limit-draws.ts'
import type { QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { limitsOf } from '../../../ingest/quota/standing.ts'
import { lookAt } from '../../../ingest/quota/thresholds/look.ts'
import { lookInPassing } from '../../../ingest/quota/thresholds/look-in-passing.ts'
import { rememberCounters } from '../../../ingest/quota/thresholds/watched.ts'
import { METERING_NOW } from '../../support/metering.ts'
import { openSite, type Site } from './thresholds-site.ts'

let site: Site
let tenant: number

beforeAll(async () => {
  site = await openSite()
})
afterAll(() => site.close())
beforeEach(async () => {
  site.clock.nowMs = METERING_NOW
  tenant = await site.tenant()
})

const MINUTE_MS = 60_000
/** A bound against hanging. */
const PATIENCE = { timeout: 60_000, interval: 20 }
const toldBecomes = (expected: string[]) => expect.poll(() => site.told(tenant), PATIENCE).toEqual(expected)

/** Issue 6, ops/decisions/0026-rolling-windows.md. */
describe('a level of a rolling limit', () => {
  test('is that of the sum, and is told once in each time of its length', async () => {
    await site.entitle(tenant, 'customer-1', '100', { thresholds: ['50%', '100%'], window: 'rolling_hour' })
    const use = async (minutes: number, tokens: number) => {
      site.clock.nowMs = METERING_NOW + minutes * MINUTE_MS
      const one = site.open()
      await one.use(tenant, tokens)
      // The clock moves on when everything was looked at.
      await one.watch.stop()
    }
    await use(0, 30)
    expect(await site.told(tenant)).toEqual([])
    await use(20, 20)
    expect(await site.told(tenant)).toEqual(['customer-1 50% at 50 of 100'])
    await use(30, 10)
    await use(50, 10)
    expect(await site.told(tenant)).toHaveLength(1)
    // Other buckets of the same hour of the clock were looked at; this one is of the next.
    await use(61, 20)
    expect(await site.told(tenant)).toEqual(['customer-1 50% at 50 of 100', 'customer-1 50% at 90 of 100'])
    expect((await site.alerts(tenant)).map((alert) => [alert.window, alert.starts_at, alert.resets_at])).toEqual([
      ['rolling_hour', '2026-11-20T13:00:00.000Z', '2026-11-20T14:00:00.000Z'],
      ['rolling_hour', '2026-11-20T12:00:00.000Z', '2026-11-20T13:00:00.000Z'],
    ])
  })

  test('is told by a process that draws in several buckets, as soon as it is reached', async () => {
    await site.entitle(tenant, 'customer-1', '100', { thresholds: ['50%'], window: 'rolling_hour' })
    let looks = 0
    const read: QuotaStore['read'] = async (...asked) => {
      const answer = await site.log.quota.read(...asked)
      looks++
      return answer
    }
    const one = site.open({ quota: { ...site.log.quota, read } })
    await one.use(tenant, 49)
    await expect.poll(() => looks, PATIENCE).toBeGreaterThan(0)
    site.clock.nowMs += 10 * MINUTE_MS
    await one.use(tenant, 1)
    await toldBecomes(['customer-1 50% at 50 of 100'])
    await one.watch.stop()
  })

  test('is remembered without the windows of its bucket, which are more than a dozen counters', async () => {
    await site.entitle(tenant, 'customer-1', '100', { window: 'rolling_hour' })
    const nowMs = site.clock.nowMs
    const [limit] = limitsOf(await site.config.get(tenant), tenant, 'customer-1', nowMs)
    const [draw] = drawsFor([limit!], 1n)
    const memory = rememberCounters(10)
    const watched = memory.of(draw!)
    expect(watched.counter).toEqual(draw!.counter)
    expect([watched.counter === draw!.counter, memory.of(draw!) === watched]).toEqual([false, true])
    const asked: unknown[] = []
    const read: QuotaStore['read'] = async (counters) => {
      asked.push(...counters)
      return { usedMicro: counters.map(() => 0n) }
    }
    const deps = { pool: site.database.pool, config: site.config, quota: { read }, loadCounters: async () => undefined }
    await lookAt({ ...deps, now: () => nowMs }, tenant, [watched])
    // Windows are kept with the counter that they were asked for: that one lies in them.
    expect([asked.length > 12, asked.includes(watched.counter)]).toEqual([true, false])
  })

  test('that a killed process did not tell is found in passing, also after a turn of the bucket', async () => {
    await site.entitle(tenant, 'customer-1', '100', { thresholds: ['50%'], window: 'rolling_hour' })
    const passBy = async () => {
      const { watch } = site.open()
      const deps = { config: site.config, subjectsOf: async () => new Map(), watch, logger: pino({ level: 'silent' }) }
      let passed = 0
      for await (const page of lookInPassing(site.log.quota, deps).livingCounters(site.clock.nowMs, tenant))
        passed += page.length
      await watch.stop()
      return passed
    }
    // Nothing that it looks at is told, as nothing is by a process that is dead.
    const pool = { connect: () => Promise.reject(new Error('away')) } as unknown as Pool
    const use = async (tokens: number) => {
      const killed = site.open({ pool })
      await killed.use(tenant, tokens)
      await killed.watch.stop()
    }
    await use(30)
    site.clock.nowMs += 20 * MINUTE_MS
    await use(19)
    expect([await passBy(), await site.told(tenant)]).toEqual([19, []])
    await use(1)
    site.clock.nowMs += 5 * MINUTE_MS
    const before = await site.told(tenant)
    await passBy()
    expect([before, await site.told(tenant)]).toEqual([[], ['customer-1 50% at 50 of 100']])
  })
})
