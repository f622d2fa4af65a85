import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { type Stack, startStack } from '../../../ops/stack/stack.ts'
import { openClickHouse } from '../../../ops/stores/clickhouse-http.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { partitionOf } from '../../../schemas/event/identity.ts'
import { eventually } from '../../support/product.ts'
import { drawSeed } from '../../support/random.ts'
import { crashBillingAt, openBilling } from '../crash-billing.ts'
import { dieAt, type Site } from '../mortal.ts'
import { DONE_AFTER_ITS_EFFECTS, DONE_BEFORE_ITS_EFFECTS, FORGET_WHAT_IS_BILLED } from '../planted-tables.ts'
import { countCopies, soundView } from '../planted-views.ts'
import { quotaCrashProblems } from '../quota-crash.ts'
import type { Plant, Step } from '../steps.ts'
import { openTraffic, type TrafficWorld } from '../traffic-world.ts'
import { countRows, doubledPartitions } from './count-rows.ts'
import { createServersRig, type ServersRig, siteOf } from './rig.ts'
import type { RoleProcess } from './role-process.ts'
import { partAt, runInStep } from './two-runners.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

/**
 * design.md §4.9: every crash of crash.servers.test.ts and billing.servers.test.ts is found to be harmful when a bug is
 * planted: in the wrapped ports of the process that dies, or in the tables and views of the servers.
 */
const EVENTS = 300
const seed = drawSeed('planted bugs on servers')
let stack: Stack
let rig: ServersRig
let site: Site
let store: ClickHouseStore
let tenants = 0

beforeAll(async () => {
  stack = await startStack({})
  store = openClickHouse(stack.clickhouse.url)
  rig = await createServersRig(stack.env)
  site = siteOf(rig)
})
afterAll(async () => {
  await store?.close()
  await rig?.remove()
  await stack?.stop()
})

function openTenant(): Promise<TrafficWorld> {
  tenants += 1
  return openTraffic(site, `planted-${tenants}`, seed + tenants)
}

/** A process with the bug in place of the sound one, for one test. */
async function inPlaceOf(name: string, other: string, plant: Plant): Promise<RoleProcess> {
  await rig.process(name).stop()
  const planted = await rig.join(other, plant)
  onTestFinished(async () => {
    await planted.remove()
    if (!rig.process(name).url()) await rig.process(name).start()
  })
  return planted
}

async function plantView(plant: (store: ClickHouseStore) => Promise<void>): Promise<void> {
  await plant(store)
  onTestFinished(() => soundView(store))
}

/** Everything sent after the crash is stored, or will never be: what is still missing then was not merely late. */
async function storedSince(world: TrafficWorld, limitMs?: number): Promise<string[]> {
  const before = new Set(world.ledger.acknowledged)
  await world.sendAll(EVENTS)
  const missing = async () => (await world.compareIdentities()).filter((problem) => problem.startsWith('lost: '))
  const late = (problem: string) => !before.has(problem.slice('lost: '.length))
  return eventually(missing, (found) => !found.some(late), limitMs)
}

test('acknowledged before it is durable: ingest killed before the produce has lost what it answered', async () => {
  const world = await openTenant()
  const ingest = await inPlaceOf('ingest-1', 'ingest-2', 'acknowledge-early')
  await dieAt(ingest, 'append-begins', () => world.sendUntilSilent(EVENTS))
  expect(ingest.reached()).toBe('append-begins')
  await ingest.start()
  expect((await storedSince(world)).length).toBeGreaterThan(0)
})

test.each(['append-unseen', 'append-durable'] as const)(
  'no deduplication: ingest killed at %s has its events sent again, and they count twice',
  async (step) => {
    const world = await openTenant()
    await plantView(countCopies)
    await dieAt(rig.process('ingest-1'), step, () => world.sendUntilSilent(EVENTS))
    await rig.process('ingest-1').start()
    await world.sendAll(0)
    expect(await storedSince(world)).toEqual([])
    expect((await world.settle(0)).length).toBeGreaterThan(0)
  },
)

test('a draw that forgets whose it is: the resent event draws twice on Redis', async () => {
  const world = await openTenant()
  const ingest = await inPlaceOf('ingest-1', 'ingest-3', 'draw-again')
  const crashAt = async (step: Step, provoke: () => Promise<void>) => {
    const crash = await dieAt(ingest, step, provoke)
    await ingest.start()
    return crash
  }
  expect(await quotaCrashProblems({ ...world, crashAt })).toContain(
    'limited-2 was answered with accepted, 995000 left instead of accepted, 997000 left',
  )
})

/** Of four partitions the first of three members of the group has two, the others one each. */
const THIRDS = [[0, 3], [1], [2]]
const HALVES = [
  [0, 2],
  [1, 3],
]
const touched = (parts: number[][], partitions: ReadonlySet<number>) =>
  parts.filter((part) => part.some((partition) => partitions.has(partition))).length

test('rows are counted: what aggregators stored twice, killed in the insert and after it, counts twice', async () => {
  const world = await openTenant()
  const others = [await rig.join('aggregator-2'), await rig.join('aggregator-3')]
  onTestFinished(async () => void (await Promise.all(others.map((other) => other.stop()))))
  await plantView(countRows)
  onTestFinished(() => store.command('SYSTEM START MERGES events'))
  const dying = [rig.process('aggregator-1'), ...others]
  const steps = ['insert-under-way', 'events-inserted', 'marks-inserted'] as const
  for (const [index, step] of steps.entries()) dying[index]?.arm({ step })
  await world.sendAll(EVENTS)
  await Promise.all(dying.map((aggregator) => aggregator.exited()))
  expect(dying.map((aggregator) => aggregator.reached())).toEqual(steps)
  await Promise.all(dying.map((aggregator) => aggregator.start()))
  expect(await storedSince(world)).toEqual([])
  expect((await world.settle(0)).length).toBeGreaterThan(0)
  // Of the insert under way the server keeps all or nothing, as it was when its client died: two of the three are certain.
  const doubled = await doubledPartitions(store, world.tenantId)
  expect(touched(THIRDS, doubled), 'both that had stored, did').toBeGreaterThanOrEqual(2)
})

test('a rebuild that adds to what is there: killed before its heads, it counts twice after the next one', async () => {
  const world = await openTenant()
  const aggregator = await inPlaceOf('aggregator-1', 'aggregator-9', 'every-run')
  await dieAt(aggregator, { step: 'rollup-written', tenantId: world.tenantId }, () => world.sendAll(EVENTS))
  expect(aggregator.reached()).toBe('rollup-written')
  await aggregator.start()
  expect(await storedSince(world)).toEqual([])
  const found = await eventually(
    () => world.settle(0),
    (problems) => problems.length > 0,
  )
  expect(found.length).toBeGreaterThan(0)
})

test('heads before their rows: killed between them, a rebuild has taken usage away', async () => {
  const world = await openTenant()
  const planted = await inPlaceOf('aggregator-1', 'aggregator-4', 'heads-first')
  await dieAt(planted, { step: 'heads-written', tenantId: world.tenantId }, () => world.sendAll(EVENTS))
  expect(planted.reached()).toBe('heads-written')
  // A sound one comes in its place, and cannot know what is missing.
  await rig.process('aggregator-1').start()
  expect(await storedSince(world)).toEqual([])
  expect((await world.settle(2_000)).length).toBeGreaterThan(0)
})

test('reading goes on where the log ends: what killed aggregators had not stored, or came meanwhile, is lost', async () => {
  const world = await openTenant()
  const first = await inPlaceOf('aggregator-1', 'aggregator-5', 'resume-at-end')
  const second = await rig.join('aggregator-6', 'resume-at-end')
  onTestFinished(() => second.remove())
  first.arm({ step: 'records-read' })
  second.arm({ step: 'ranges-inserted' })
  await sendUntilDead(world, [first, second])
  expect([first, second].map((aggregator) => aggregator.reached())).toEqual(['records-read', 'ranges-inserted'])
  await world.sendAll(EVENTS)
  await Promise.all([first.start(), second.start()])
  const lost = await storedSince(world)
  expect(touched(HALVES, partitionsOf(world, lost)), 'each of the two did').toBe(2)
  // One is killed, another one joins.
  const known = new Set(lost)
  second.arm({ step: 'events-inserted' })
  await sendUntilDead(world, [second])
  const third = rig.join('aggregator-7', 'resume-at-end')
  await world.sendAll(EVENTS)
  await third
  onTestFinished(async () => (await third).remove())
  const more = (await storedSince(world, 10_000)).filter((problem) => !known.has(problem))
  expect(more.length).toBeGreaterThan(0)
})

/** What arrives while partitions change hands passes these readers by: events go on arriving until they have died. */
async function sendUntilDead(world: TrafficWorld, dying: RoleProcess[]): Promise<void> {
  let alive = true
  const dead = Promise.all(dying.map((one) => one.exited())).then(() => {
    alive = false
  })
  while (alive) await Promise.race([world.sendAll(EVENTS).then(() => sleep(500)), dead])
}

function partitionsOf({ tenantId: tenant }: TrafficWorld, lost: readonly string[]): Set<number> {
  const identities = lost.map((problem) => problem.slice('lost: '.length).split(' '))
  return new Set(identities.map(([source = '', id = '']) => partitionOf({ tenant, source, id }, 4)))
}

test('a run noted as done before its effects is not taken up by whoever starts', async () => {
  const billing = await openBilling(site, 'planted-done-first', seed)
  await rig.ask.postgres(DONE_BEFORE_ITS_EFFECTS)
  onTestFinished(async () => void (await rig.ask.postgres(DONE_AFTER_ITS_EFFECTS)))
  const { reached, problems } = await crashBillingAt(rig.process('invoicer-1'), billing, { step: 'run:rate', nth: 1 })
  expect(reached).toBe('run:rate')
  expect(problems).toContain('customer-0 has 0 invoices for the month')
})

const PARTING = { meet: 'run:charge', dies: { step: 'charge-done', nth: 5 }, waits: 'run:settle' } as const

test('a new key for each attempt: a resumed run, and a second runner, charge twice', async () => {
  const first = await inPlaceOf('invoicer-1', 'invoicer-2', 'new-payment-keys')
  const resumed = await openBilling(site, 'planted-keys', seed)
  const { reached, problems } = await crashBillingAt(first, resumed, { step: 'charge-done', nth: 5 })
  expect(reached).toBe('charge-done')
  expect(problems.filter((problem) => problem.includes('was charged 2 times')).length).toBeGreaterThan(0)
  const second = rig.add('invoicer-3', 'new-payment-keys')
  onTestFinished(() => second.remove())
  const shared = await openBilling(site, 'planted-shared-keys', seed)
  await partAt([first, second], shared, PARTING)
  expect(await shared.runs()).toEqual(['completed'])
  const found = await shared.problems()
  expect(found.filter((problem) => problem.includes('was charged 2 times')).length).toBeGreaterThan(0)
})

/** The last test: the keys do not come back. */
test('no unique key, and subscriptions that do not move on: a resumed run, and a second runner, invoice twice', async () => {
  const [resumed, inStep] = [
    await openBilling(site, 'planted-invoices', seed),
    await openBilling(site, 'planted-step', seed),
  ]
  await rig.ask.postgres(FORGET_WHAT_IS_BILLED)
  const invoicer = rig.process('invoicer-1')
  const { reached, problems } = await crashBillingAt(invoicer, resumed, { step: 'run:attempt', nth: 1 })
  expect(reached).toBe('run:attempt')
  expect(problems.filter((problem) => problem.includes('has 2 invoices')).length).toBe(10)
  await runInStep([invoicer, rig.add('invoicer-4')], inStep)
  expect(await inStep.runs()).toEqual(['completed'])
  expect((await inStep.problems()).filter((problem) => problem.includes('has 2 invoices')).length).toBe(10)
})
