import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { subjectsOfCustomers } from '../../../ingest/quota/customer-subjects.postgres.ts'
import type { QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { lookInPassing } from '../../../ingest/quota/thresholds/look-in-passing.ts'
import { putEndpoint } from '../../../ingest/webhooks/change-endpoint.ts'
import { listDeliveries } from '../../../ingest/webhooks/deliveries.postgres.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createCustomer } from '../../support/customers.ts'
import { METERING_NOW } from '../../support/metering.ts'
import { openSite, type Site, type Watching } from './thresholds-site.ts'

/** Issue 6: thresholds of quotas are told once per period and level, at once. */
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

/** A bound against hanging. */
const PATIENCE = { timeout: 60_000, interval: 20 }
const toldBecomes = (expected: string[]) => expect.poll(() => site.told(tenant), PATIENCE).toEqual(expected)
/** Long enough for every look that waits. */
const everythingLookedAt = (...all: Watching[]) => Promise.all(all.map(({ watch }) => watch.stop()))

describe('a level', () => {
  test('is told as soon as it is reached, with what was used then, and not again', async () => {
    await site.entitle(tenant, 'customer-1', '1000')
    const one = site.open()
    await one.use(tenant, 499)
    await sleep(300)
    expect(await site.told(tenant)).toEqual([])
    await one.use(tenant, 1)
    await toldBecomes(['customer-1 50% at 500 of 1000'])
    await one.use(tenant, 299)
    await one.use(tenant, 1)
    await toldBecomes(['customer-1 50% at 500 of 1000', 'customer-1 80% at 800 of 1000'])
    await one.use(tenant, 100)
    await everythingLookedAt(one)
    expect(await site.told(tenant)).toHaveLength(2)
    expect(one.fired.map(({ level }) => level)).toEqual(['50%', '80%'])
  })

  test('that one large event passes is told with all those below it, the lowest first', async () => {
    await site.entitle(tenant, 'customer-1', '1000', { thresholds: ['100%', '600', '50%', '80%'] })
    const one = site.open()
    await one.use(tenant, 1_000)
    const levels = ['50%', '600', '80%', '100%']
    await toldBecomes(levels.map((level) => `customer-1 ${level} at 1000 of 1000`))
    await everythingLookedAt(one)
    expect(one.fired.map(({ level }) => level)).toEqual(levels)
  })

  test('that 20 concurrent events cross, in three processes, is told once', async () => {
    await site.entitle(tenant, 'customer-1', '100')
    const processes = [site.open(), site.open(), site.open()]
    await Promise.all(Array.from({ length: 20 }, (_, n) => processes[n % 3]?.use(tenant, 5)))
    await everythingLookedAt(...processes)
    const levels = (await site.alerts(tenant)).map(({ level }) => level)
    const fired = processes.flatMap((one) => one.fired.map(({ level }) => level))
    for (const all of [levels, fired]) expect(all.sort()).toEqual(['100%', '50%', '80%'])
  })

  test('is told once although the process is started anew', async () => {
    await site.entitle(tenant, 'customer-1', '100')
    const before = site.open()
    await before.use(tenant, 60)
    await everythingLookedAt(before)
    const after = site.open()
    await after.use(tenant, 10)
    await after.use(tenant, 15)
    await everythingLookedAt(after)
    expect(await site.told(tenant)).toEqual(['customer-1 50% at 60 of 100', 'customer-1 80% at 85 of 100'])
    expect(after.fired.map(({ level }) => level)).toEqual(['80%'])
  })

  test('is told again in the next window', async () => {
    await site.entitle(tenant, 'customer-1', '100', { window: 'day', thresholds: ['50%'] })
    const one = site.open()
    await one.use(tenant, 50)
    await toldBecomes(['customer-1 50% at 50 of 100'])
    site.clock.nowMs += 86_400_000
    await one.use(tenant, 70)
    await expect
      .poll(async () => (await site.alerts(tenant)).map(({ starts_at }) => starts_at), PATIENCE)
      .toEqual(['2026-11-21T00:00:00.000Z', '2026-11-20T00:00:00.000Z'])
  })

  test('is not told again in a window when the limit is raised; one that was not told yet is', async () => {
    await site.entitle(tenant, 'customer-1', '100')
    const one = site.open()
    await one.use(tenant, 85)
    await toldBecomes(['customer-1 50% at 85 of 100', 'customer-1 80% at 85 of 100'])
    await site.entitle(tenant, 'customer-1', '200')
    await one.use(tenant, 110)
    await one.use(tenant, 5)
    await toldBecomes(['customer-1 50% at 85 of 100', 'customer-1 80% at 85 of 100', 'customer-1 100% at 200 of 200'])
  })

  test('beyond a soft limit is told as well', async () => {
    await site.entitle(tenant, 'customer-1', '100', { enforcement: 'soft', thresholds: ['100%', '120%', '500'] })
    const one = site.open()
    for (let n = 0; n < 3; n++) expect(await one.use(tenant, 50)).toBe(true)
    await everythingLookedAt(one)
    expect(await site.told(tenant)).toEqual(['customer-1 100% at 150 of 100', 'customer-1 120% at 150 of 100'])
  })

  test('is reached by what is held too, and told with the next event', async () => {
    await site.entitle(tenant, 'customer-1', '100', { thresholds: ['80%'] })
    const one = site.open()
    await one.use(tenant, 1)
    await site.log.quota.hold(
      {
        ...{ id: `hold-${tenant}`, tenant, subject: 'customer-1', meter: 'tokens', askedMicro: 90_000_000n },
        ...{ partly: false, lastsMs: 60_000 },
        limits: [{ counter: NOVEMBER(), limitMicro: 100_000_000n }],
      },
      METERING_NOW,
      true,
    )
    await one.use(tenant, 1)
    await toldBecomes(['customer-1 80% at 92 of 100'])
  })

  test('of one of several limits on the same event is told, also where another one is nearer to its end', async () => {
    await site.entitle(tenant, 'customer-1', '100', { thresholds: ['100%'] })
    // One that is drawn on before it, and one after it.
    await site.entitle(tenant, 'customer-1', '1000', { window: 'day', feature: 'daily', thresholds: ['9%', '50%'] })
    await site.entitle(tenant, 'customer-1', '1000', { window: 'hour', feature: 'z-hourly', thresholds: ['9%', '50%'] })
    const one = site.open()
    await one.use(tenant, 85)
    await one.use(tenant, 5)
    await toldBecomes(['customer-1 9% at 90 of 1000', 'customer-1 9% at 90 of 1000'])
    expect((await site.alerts(tenant)).map(({ feature }) => feature).sort()).toEqual(['daily', 'z-hourly'])
  })

  test('of a looser limit on the same counter is told, which is not drawn on', async () => {
    await site.entitle(tenant, 'customer-1', '100', { thresholds: ['90%'] })
    await site.entitle(tenant, 'customer-1', '200', { feature: 'fair-use', enforcement: 'soft', thresholds: ['30%'] })
    const one = site.open()
    await one.use(tenant, 61)
    await toldBecomes(['customer-1 30% at 61 of 200'])
  })

  test('of a limit that a customer’s subjects share is told once, whoever of them reaches it', async () => {
    await createCustomer(site.database.pool, tenant, 'acme', ['a-1', 'a-2'])
    await site.entitle(tenant, 'acme', '100', { kind: 'customer', per: 'customer', thresholds: ['50%'] })
    const one = site.open()
    await one.use(tenant, 30, 'a-1')
    await one.use(tenant, 30, 'a-2')
    await toldBecomes(['acme 50% at 60 of 100'])
  })
})

const NOVEMBER = () => ({
  ...{ tenant, subject: 'customer-1', meter: 'tokens' },
  ...{ startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) },
})

/** The real store, whose reads are counted. */
function counting(quota: QuotaStore) {
  let reads = 0
  const read: QuotaStore['read'] = (...args) => {
    reads++
    return quota.read(...args)
  }
  return { quota: { ...quota, read }, reads: () => reads }
}

/** The real pool, and one whose statements fail while `fails` says so. */
function failing(pool: Pool, fails: (text: string) => boolean): Pool {
  const refuse = (text: string) => {
    if (fails(text)) throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
  }
  return new Proxy(pool, {
    get: (target, name) => {
      if (name !== 'connect') return Reflect.get(target, name)
      return async () => {
        refuse('connect')
        const client = await target.connect()
        return new Proxy(client, {
          get: (one, member) => {
            if (member !== 'query') return Reflect.get(one, member)
            return async (text: string, values?: unknown[]) => {
              refuse(text)
              return one.query(text, values)
            }
          },
        })
      }
    },
  })
}

describe('a limit that is shared', () => {
  test('goes on telling when the subject that drew last gets a limit of its own', async () => {
    await createCustomer(site.database.pool, tenant, 'acme', ['a-1', 'a-2'])
    await site.entitle(tenant, 'acme', '100', { kind: 'customer', per: 'customer', thresholds: ['50%', '80%'] })
    const one = site.open()
    await one.use(tenant, 40, 'a-2')
    await one.use(tenant, 10, 'a-1')
    // Before it is looked at.
    await site.entitle(tenant, 'a-1', '1000', { thresholds: ['1%'] })
    await everythingLookedAt(one)
    expect(await site.told(tenant)).toEqual([])
    await one.use(tenant, 1, 'a-2')
    await everythingLookedAt(one)
    expect(await site.told(tenant)).toEqual(['acme 50% at 51 of 100'])
  })

  test('is told of where subjects have different limits on its counter, when each draws', async () => {
    await createCustomer(site.database.pool, tenant, 'acme', ['a-1', 'a-2'])
    const shared = { kind: 'customer', per: 'customer' } as const
    await site.entitle(tenant, 'acme', '100', { ...shared, thresholds: ['90%'] })
    await site.entitle(tenant, 'acme', '200', { ...shared, feature: 'fair-use', thresholds: ['20%'] })
    await site.entitle(tenant, 'a-1', '1000', { feature: 'fair-use', thresholds: [] })
    const one = site.open()
    await one.use(tenant, 50, 'a-1')
    await everythingLookedAt(one)
    expect(await site.told(tenant)).toEqual([])
    await one.use(tenant, 1, 'a-2')
    await everythingLookedAt(one)
    expect(await site.told(tenant)).toEqual(['acme 20% at 51 of 200'])
  })
})

describe('watching', () => {
  test('costs no look while no level is near', async () => {
    await site.entitle(tenant, 'customer-1', '1000000')
    const { quota, reads } = counting(site.log.quota)
    const one = site.open({ quota })
    await one.use(tenant, 1)
    await everythingLookedAt(one)
    const before = reads()
    for (let n = 0; n < 200; n++) await one.use(tenant, 1)
    await everythingLookedAt(one)
    expect([before, reads()]).toEqual([1, 1])
  })

  test('costs few looks where a level stays near without being reached', async () => {
    await site.entitle(tenant, 'customer-1', '100', { enforcement: 'soft', thresholds: ['9999%'] })
    const { quota, reads } = counting(site.log.quota)
    const one = site.open({ quota })
    const startMs = performance.now()
    await one.use(tenant, 100)
    for (let n = 0; n < 150; n++) {
      await one.use(tenant, 1)
      await sleep(10)
    }
    // Once a second, and not every tenth of one.
    expect(reads()).toBeLessThanOrEqual(2 + (performance.now() - startMs) / 1_000)
    await everythingLookedAt(one)
  })

  test('fails no request while Postgres is away, and tells when it is back', async () => {
    await site.entitle(tenant, 'customer-1', '100')
    let away = false
    const one = site.open({ pool: failing(site.database.pool, () => away) })
    away = true
    expect(await one.use(tenant, 60)).toBe(true)
    await sleep(400)
    expect([await site.told(tenant), one.fired]).toEqual([[], []])
    away = false
    await toldBecomes(['customer-1 50% at 60 of 100'])
  })

  /** Shut down, the product waits for this after all that was accepted is in the log, and is killed if it takes too long. */
  test('stops in bounded time where counters are never read, and begins no look after it', async () => {
    const tenants = [tenant, ...(await Promise.all(Array.from({ length: 5 }, () => site.tenant())))]
    for (const each of tenants) await site.entitle(each, 'customer-1', '100')
    let reads = 0
    let goOn: () => void = () => undefined
    const hanging = new Promise<void>((done) => {
      goOn = done
    })
    const read: QuotaStore['read'] = async (...args) => {
      reads++
      await hanging
      return site.log.quota.read(...args)
    }
    const one = site.open({ quota: { ...site.log.quota, read }, mostStopMs: 300 })
    // Their counters are there first: the first look begins soon after the first level, and must find all of them.
    for (const each of tenants) await one.use(each, 10)
    await Promise.all(tenants.map((each) => one.use(each, 50)))
    // As many tenants as are looked at at once; two more wait.
    await expect.poll(() => reads, PATIENCE).toBe(4)
    await everythingLookedAt(one)
    goOn()
    await expect.poll(() => one.fired.length, PATIENCE).toBe(4)
    await sleep(200)
    expect([reads, one.fired.length]).toEqual([4, 4])
  })

  test('tells of an alert and queues its deliveries together, or neither (an outbox)', async () => {
    await site.entitle(tenant, 'customer-1', '100', { thresholds: ['50%'] })
    const deps = { pool: site.database.pool, now: () => site.clock.nowMs, allowPrivate: true }
    const { endpoint } = await putEndpoint(deps, tenant, {
      ...{ name: 'alerts', url: 'http://127.0.0.1:1/', topics: ['quota.threshold_reached'] },
    })
    const queued = () =>
      withTenant(deps.pool, tenant, (tx) => listDeliveries(tx, endpoint.id, { before: undefined, limit: 10 }))
    for (const step of ['INSERT INTO webhook_deliveries', 'COMMIT']) {
      let failed = 0
      const dying = site.open({ pool: failing(deps.pool, (text) => text.includes(step) && ++failed > 0) })
      await dying.use(tenant, 25)
      await dying.use(tenant, 25)
      await everythingLookedAt(dying)
      expect([step, failed > 0, await site.told(tenant), await queued()]).toEqual([step, true, [], []])
    }
    const after = site.open()
    await after.use(tenant, 0)
    await toldBecomes(['customer-1 50% at 100 of 100'])
    const [alert] = await site.alerts(tenant)
    expect(await queued()).toMatchObject([
      {
        ...{ eventId: alert?.id, topic: 'quota.threshold_reached', state: 'waiting', attempts: 0 },
        payload: { type: 'quota.threshold_reached', timestamp: alert?.fired_at, data: alert },
      },
    ])
  })
})

/** kill -9 between a draw and its look: the comparison with usage passes by all counters every minute. */
describe('in passing', () => {
  async function passBy(one: Watching): Promise<number> {
    const subjectsOf = (of: number, ids: readonly string[]) =>
      withTenant(site.database.pool, of, (tx) => subjectsOfCustomers(tx, ids))
    const deps = { config: site.config, subjectsOf, watch: one.watch, logger: pino({ level: 'silent' }) }
    let passed = 0
    for await (const page of lookInPassing(site.log.quota, deps).livingCounters(site.clock.nowMs, tenant))
      passed += page.length
    await everythingLookedAt(one)
    return passed
  }

  test('what a killed process did not tell is found, of subjects and of customers, once', async () => {
    await createCustomer(site.database.pool, tenant, 'acme', ['a-1', 'a-2'])
    await site.entitle(tenant, 'acme', '100', { kind: 'customer', per: 'customer', thresholds: ['50%'] })
    await site.entitle(tenant, 'customer-1', '100', { thresholds: ['50%'] })
    await site.entitle(tenant, 'customer-2', '100', { thresholds: ['50%'] })
    // Never looked at, as nothing is any more in a process that is dead.
    const killed = site.open({ pool: failing(site.database.pool, () => true) })
    await killed.use(tenant, 60, 'a-2')
    await killed.use(tenant, 60)
    await killed.use(tenant, 49, 'customer-2')
    await everythingLookedAt(killed)
    expect(await site.told(tenant)).toEqual([])
    const other = site.open()
    expect(await passBy(other)).toBe(3)
    expect((await site.told(tenant)).sort()).toEqual(['acme 50% at 60 of 100', 'customer-1 50% at 60 of 100'])
    expect(await passBy(other)).toBe(3)
    expect(await passBy(site.open())).toBe(3)
    expect(await site.told(tenant)).toHaveLength(2)
  })

  test('a shared limit is found although a subject of the customer has one of its own instead', async () => {
    await createCustomer(site.database.pool, tenant, 'acme', ['a-1', 'a-2', 'a-3'])
    await site.entitle(tenant, 'acme', '100', { kind: 'customer', per: 'customer', thresholds: ['50%'] })
    for (const subject of ['a-1', 'a-3']) await site.entitle(tenant, subject, '1000')
    const killed = site.open({ pool: failing(site.database.pool, () => true) })
    await killed.use(tenant, 60, 'a-2')
    await passBy(site.open())
    expect(await site.told(tenant)).toEqual(['acme 50% at 60 of 100'])
  })

  test('a level that a lowered limit has reached is found without a draw', async () => {
    await site.entitle(tenant, 'customer-1', '1000', { thresholds: ['50%'] })
    const one = site.open()
    await one.use(tenant, 100)
    await passBy(one)
    expect(await site.told(tenant)).toEqual([])
    await site.entitle(tenant, 'customer-1', '150', { thresholds: ['50%'] })
    await passBy(one)
    expect(await site.told(tenant)).toEqual(['customer-1 50% at 100 of 150'])
  })

  test('trouble stops nobody who passes by', async () => {
    await site.entitle(tenant, 'customer-1', '100')
    const one = site.open()
    await one.use(tenant, 60)
    const config = { get: () => Promise.reject(new Error('away')) }
    const deps = { config, subjectsOf: async () => new Map(), watch: one.watch, logger: pino({ level: 'silent' }) }
    let passed = 0
    for await (const page of lookInPassing(site.log.quota, deps).livingCounters(site.clock.nowMs, tenant))
      passed += page.length
    expect(passed).toBe(1)
  })
})
