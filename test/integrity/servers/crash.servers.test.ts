import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type Stack, startStack } from '../../../ops/stack/stack.ts'
import { eventually } from '../../support/product.ts'
import { drawSeed } from '../../support/random.ts'
import { invoiceProblems, paymentProblems } from '../checks.ts'
import { type Crash, dieAt } from '../mortal.ts'
import { QUOTA_EVENTS, quotaCrashProblems } from '../quota-crash.ts'
import { readCharges, readInvoices, readPayments, runBilling } from '../read-product.ts'
import type { Place, PortStep, Step } from '../steps.ts'
import { openTraffic, type TrafficWorld } from '../traffic-world.ts'
import { createServersRig, type ServersRig, siteOf } from './rig.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

const EVENTS_PER_STEP = 400
const EVENTS_WHILE_AWAY = 100
const KILLED = { code: null, signal: 'SIGKILL' }

const seed = drawSeed('crashes on servers')
let stack: Stack
let rig: ServersRig
let world: TrafficWorld

beforeAll(async () => {
  stack = await startStack({})
  rig = await createServersRig(stack.env, { processes: ['ingest-1', 'aggregator-1', 'aggregator-2', 'invoicer-1'] })
  world = await openTraffic(siteOf(rig), 'crashes', seed)
})
afterAll(async () => {
  await rig?.remove()
  await stack?.stop()
})

/** Rebuilds go from tenant to tenant: this one's is meant. */
function placeOf(step: PortStep): Place {
  const rebuild = step === 'rollup-written' || step === 'heads-written'
  return rebuild ? { step, tenantId: world.tenantId } : { step }
}

async function expectNothingWrong() {
  expect(await world.settle(60_000), `seed ${seed}`).toEqual([])
  expect(await world.compareIdentities(), `seed ${seed}`).toEqual([])
  expect(world.ledger.surprises).toEqual([])
}

/** reliability.md §3.2, row one: before the produce, before its acknowledgement is seen, before the answer. */
test.each([
  ['append-begins', false],
  ['append-unseen', true],
  ['append-durable', true],
] as const)('ingest killed at %s loses nothing, and what the broker has counts once', async (step, appended) => {
  const [before, acknowledged] = [await rig.logEnds(), world.ledger.acknowledged.size]
  const ingest = rig.process('ingest-1')
  const crash = await dieAt(ingest, step, () => world.sendUntilSilent(EVENTS_PER_STEP))
  expect(crash).toEqual({ exit: KILLED, reached: step })
  expect(world.ledger.acknowledged.size, 'nothing was answered').toBe(acknowledged)
  const grown = async () => (await rig.logEnds()).some((end, partition) => end > (before[partition] ?? 0))
  expect(await eventually(grown, (is) => is === appended, 5_000), 'the broker has it').toBe(appended)
  await ingest.start()
  await expectNothingWrong()
})

/** reliability.md §3.1 C6 on Redis: the counters are another process's. */
test('ingest killed between the draw on Redis and the append draws once for each event', async () => {
  const own = await openTraffic(siteOf(rig), 'crashed-draws', seed)
  const ingest = rig.process('ingest-1')
  const crashAt = async (step: Step, provoke: () => Promise<void>): Promise<Crash> => {
    const crash = await dieAt(ingest, step, provoke)
    await ingest.start()
    return crash
  }
  expect(await quotaCrashProblems({ ...own, crashAt })).toEqual([])
  expect(await own.compareIdentities()).toEqual([])
  expect(own.ledger.acknowledged.size).toBe(QUOTA_EVENTS)
})

/**
 * reliability.md §3.2, row two, and rebuilds. Each aggregator dies at a step of its own, with its own half of the
 * partitions; events go on arriving while both are dead.
 */
test.each([
  ['records-read', 'insert-under-way'],
  ['events-inserted', 'marks-inserted'],
  ['ranges-inserted', 'rollup-written'],
  ['heads-written', 'records-read'],
] as const)('aggregators killed at %s and at %s lose nothing and count nothing twice', async (one, other) => {
  const [first, second] = [rig.process('aggregator-1'), rig.process('aggregator-2')]
  const crashes = await Promise.all([
    dieAt(first, placeOf(one), async () => undefined),
    dieAt(second, placeOf(other), () => world.sendAll(EVENTS_PER_STEP)),
  ])
  expect(crashes).toEqual([one, other].map((reached) => ({ exit: KILLED, reached })))
  await world.sendAll(EVENTS_WHILE_AWAY)
  await Promise.all([first.start(), second.start()])
  await expectNothingWrong()
})

/** reliability.md §3.2: one dies, one joins, one stays; whoever gets a partition goes on where the store ends. */
test('of two aggregators one is killed and another one joins: the partitions change hands, and nothing else', async () => {
  const crash = await dieAt(rig.process('aggregator-2'), 'events-inserted', () => world.sendAll(EVENTS_PER_STEP))
  expect(crash).toEqual({ exit: KILLED, reached: 'events-inserted' })
  const joining = rig.join('aggregator-3')
  await world.sendAll(EVENTS_PER_STEP)
  await joining
  await world.sendAll(EVENTS_PER_STEP)
  await expectNothingWrong()
})

/** reliability.md §3.1 C3 and C5, over everything that the crashes left. */
test('after all crashes invoices and payments are those of the ledger', async () => {
  expect((await runBilling(world.tenant())).state).toBe('completed')
  const events = [...world.ledger.events.values()]
  const invoices = await readInvoices(world.tenant())
  expect(invoiceProblems(events, invoices), `seed ${seed}`).toEqual([])
  const payments = await readPayments(rig.ask, world.tenantId)
  expect(paymentProblems(invoices, payments, readCharges(rig.book))).toEqual([])
  expect(await world.tenant().call('GET', '/dead-letters')).toMatchObject({ dead_letters: [] })
  expect(rig.embedded()).toBe(false)
})
