import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { LENGTHS } from '../../support/lengths.ts'
import { drawSeed } from '../../support/random.ts'
import { runBilling } from '../read-product.ts'
import { soak } from './outage-soak.ts'
import {
  billedProblems,
  type OutageTenant,
  openOutageTenant,
  openProxiedWorld,
  type ProxiedWorld,
  problemsOf,
  RECOVERY_LIMIT_MS,
} from './outage-world.ts'
import { wakeZombie } from './outage-zombie.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 180_000 })

/** reliability.md §3.2: a process that is stopped and wakes up, and a soak; C1, C2, C3, C5 of §3.1; design.md §4. */
const seed = drawSeed('zombie and soak')
let world: ProxiedWorld
let tenant: OutageTenant

beforeAll(async () => {
  world = await openProxiedWorld()
  tenant = await openOutageTenant(world, 'zombie', seed)
})
afterAll(() => world?.remove())

const tell = (what: string, figures: object) => process.stdout.write(`outage: ${what}: ${JSON.stringify(figures)}\n`)

test('a zombie aggregator that wakes up in the middle of an insert loses nothing and counts nothing twice', async () => {
  const zombie = { zombieMs: LENGTHS.zombieMs, settleMs: RECOVERY_LIMIT_MS }
  const { figures, ...found } = await wakeZombie(world, tenant, zombie)
  tell('zombie', figures)
  expect(figures.acknowledgedAsleep).toBeGreaterThan(100)
  expect(figures.staleRecords, 'it wrote what another one had stored').toBeGreaterThan(0)
  expect(found, `seed ${seed}`).toEqual({ lost: [], before: [], awake: [], after: [] })
})

test('kill -9 of ingest and aggregators at random moments under load, and everything adds up', async () => {
  const names = ['ingest-1', 'aggregator-1', 'aggregator-2']
  const figures = await soak(world, tenant, { names, kills: LENGTHS.soakKills, seed })
  const { events, copiesSent } = tenant.ledger
  tell('soak', { ...figures, events: events.size, copiesSent })
  expect(new Set(figures.killed)).toEqual(new Set(names))
  expect(figures.failedRequests).toBeGreaterThan(0)
  expect(await problemsOf(world, tenant), `seed ${seed}`).toEqual([])
})

test('then the month is billed once, as the ledger says', async () => {
  expect(await runBilling(tenant.api)).toMatchObject({ state: 'completed', parked: [] })
  expect(await billedProblems(world, tenant), `seed ${seed}`).toEqual([])
  expect(await runBilling(tenant.api)).toMatchObject({ state: 'completed', invoices_created: 0 })
  expect(await billedProblems(world, tenant), `seed ${seed}`).toEqual([])
})
