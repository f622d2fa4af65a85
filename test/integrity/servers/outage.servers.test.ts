import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { LENGTHS } from '../../support/lengths.ts'
import { drawSeed } from '../../support/random.ts'
import { emit } from '../traffic.ts'
import { clickHouseAway } from './outage-clickhouse.ts'
import { killKafka } from './outage-kafka.ts'
import { COLLECTING, ISSUING, killPostgresInRun } from './outage-postgres.ts'
import { flushUnderLimit } from './outage-redis.ts'
import {
  billedProblems,
  type OutageTenant,
  type OutageWorld,
  openOutageTenant,
  openOutageWorld,
  problemsOf,
  sendRest,
  storedProblems,
} from './outage-world.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 400_000, hookTimeout: 180_000 })

/**
 * reliability.md §3.2, servers away; C1, C2, C3, C5 of §3.1; design.md §4.1, §4.2, §4.3, §6. One world goes through all
 * outages. Each of them fails against a planted bug in outage-planted.servers.test.ts.
 */
const seed = drawSeed('outages')
let world: OutageWorld
let tenant: OutageTenant

beforeAll(async () => {
  world = await openOutageWorld({ processes: ['ingest-1', 'ingest-2', 'aggregator-1', 'invoicer-1'] })
  tenant = await openOutageTenant(world, 'outage', seed)
})
afterAll(() => world?.remove())

const tell = (what: string, figures: object) => process.stdout.write(`outage: ${what}: ${JSON.stringify(figures)}\n`)

test('Kafka killed under load: nothing acknowledged is lost, and events are taken again by themselves', async () => {
  const figures = await killKafka(world, tenant, tenant.target, LENGTHS.outageMs)
  tell('Kafka killed', figures)
  expect(figures.acknowledgedBefore).toBeGreaterThan(0)
  expect(figures.acknowledgedAway, 'nothing is acknowledged without the broker').toBe(0)
  expect(figures.failedRequests).toBeGreaterThan(0)
  expect(await problemsOf(world, tenant), `seed ${seed}`).toEqual([])
})

test('ClickHouse away under load: events are taken, the aggregator tells, and everything is stored afterwards', async () => {
  const aggregatorUrl = world.rig.process('aggregator-1').url()
  const figures = await clickHouseAway(world, tenant, {
    target: tenant.target,
    aggregatorUrl,
    awayMs: LENGTHS.outageMs,
  })
  tell('ClickHouse away', figures)
  expect(figures.acknowledgedAway).toBeGreaterThan(100)
  expect(figures.failedRequests).toBe(0)
  expect(await problemsOf(world, tenant), `seed ${seed}`).toEqual([])
})

test('Redis flushed and restarted under load: no unit beyond the limit, and counters are rebuilt exactly', async () => {
  const limited = await openOutageTenant(world, 'limited', seed)
  const urls = ['ingest-1', 'ingest-2'].flatMap((name) => world.rig.process(name).url() ?? [])
  const { problems, figures } = await flushUnderLimit(world, limited, urls)
  tell('Redis flushed', figures)
  expect(figures.withoutAnswer).toBeGreaterThan(0)
  expect([...problems, ...limited.ledger.surprises], `seed ${seed}`).toEqual([])
  // Nor is anything stored that was refused.
  expect(await storedProblems(world, limited), `seed ${seed}`).toEqual([])
})

test.each([
  ['issuing invoices', ISSUING],
  ['collecting payments', COLLECTING],
])(
  'Postgres restarted while a run is %s: the run is continued by itself, and bills everything once',
  async (what, moment) => {
    const billed = moment === ISSUING ? tenant : await openOutageTenant(world, 'collected', seed)
    emit(billed.ledger, billed.source, 500)
    await sendRest(billed, billed.target)
    const { figures, ...run } = await killPostgresInRun(world, billed, moment)
    tell(`Postgres restarted ${what}`, figures)
    expect(run).toEqual({ state: 'completed', parked: [] })
    expect(await billedProblems(world, billed), `seed ${seed}`).toEqual([])
  },
)

test('nothing was embedded', () => {
  expect(world.rig.embedded()).toBe(false)
})
