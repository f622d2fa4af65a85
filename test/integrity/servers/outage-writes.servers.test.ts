import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { eventually } from '../../support/product.ts'
import { drawSeed } from '../../support/random.ts'
import { startOutageRole } from './outage-role.ts'
import {
  type OutageTenant,
  openOutageTenant,
  openProxiedWorld,
  type ProxiedWorld,
  problemsOf,
  storedProblems,
} from './outage-world.ts'
import { lagOf, type WriteFault, writesGoWrong } from './outage-writes.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 400_000, hookTimeout: 180_000 })

/** Issue 5: ClickHouse "read-only or slow": "no loss, no double count, lag recovers by itself"; design.md §4.2, §4.4. */
const seed = drawSeed('ClickHouse read-only and slow')
const LASTS_MS = 6_000
const DELAY_MS = 2_000
let world: ProxiedWorld

beforeAll(async () => {
  world = await openProxiedWorld({ processes: ['ingest-1', 'aggregator-1', 'invoicer-1'] })
})
afterAll(() => world?.remove())

const tell = (what: string, figures: object) => process.stdout.write(`outage: ${what}: ${JSON.stringify(figures)}\n`)

function readOnly(tenant: OutageTenant, aggregatorUrl: string | undefined): WriteFault {
  return {
    begin: () => world.proxy.beReadOnly(true),
    end: () => world.proxy.beReadOnly(false),
    met: () => world.proxy.counts().refused,
    target: tenant.target,
    aggregatorUrl,
    lastsMs: LASTS_MS,
  }
}

function slow(tenant: OutageTenant, aggregatorUrl: string | undefined): WriteFault {
  return {
    ...readOnly(tenant, aggregatorUrl),
    begin: () => world.proxy.delayInserts(DELAY_MS),
    end: () => world.proxy.delayInserts(0),
    met: () => world.proxy.counts().delayed,
  }
}

/** Lag that is not gone though nothing comes any more; a bound against hanging. */
const lagLeft = () =>
  eventually(
    () => lagOf(world),
    (lag) => lag === 0,
    60_000,
  )

test.each([
  ['read-only', readOnly],
  ['slow to insert', slow],
])('ClickHouse %s for a while: nothing is lost or counted twice, and lag recovers by itself', async (what, fault) => {
  const tenant = await openOutageTenant(world, `writes-${what.split(' ')[0]}`, seed)
  const figures = await writesGoWrong(world, tenant, fault(tenant, world.rig.process('aggregator-1').url()))
  tell(`ClickHouse ${what}`, figures)
  expect(figures.failedRequests, 'ingest does not need it').toBe(0)
  expect(figures.acknowledgedMeanwhile).toBeGreaterThan(100)
  expect(figures.met).toBeGreaterThan(0)
  expect(figures.lag).toBeGreaterThan(0)
  expect(await lagLeft()).toBe(0)
  expect(await problemsOf(world, tenant), `seed ${seed}`).toEqual([])
  // A refusal says nothing about the data: no record became a dead letter.
  expect(await tenant.api.call('GET', '/dead-letters')).toMatchObject({ dead_letters: [] })
})

/** design.md §4.9: the same faults, with a reader that goes on with what it handed out, whether it was stored or not. */
test('progress before the insert: what ClickHouse refused while it was read-only is never stored', async () => {
  const tenant = await openOutageTenant(world, 'writes-planted', seed)
  await world.rig.process('aggregator-1').stop()
  const env = { CLICKHOUSE_URL: world.proxy.url }
  const planted = await startOutageRole(world, { role: 'aggregator', plant: 'commit-on-read' }, env)
  const figures = await writesGoWrong(world, tenant, readOnly(tenant, planted.url))
  expect(figures.met).toBeGreaterThan(0)
  const problems = await storedProblems(world, tenant, 5_000)
  expect(problems.filter((problem) => problem.startsWith('lost: ')).length).toBeGreaterThan(0)
  await planted.stop()
})
