import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { openClickHouse } from '../../../ops/stores/clickhouse-http.clickhouse.ts'
import { eventually } from '../../support/product.ts'
import { drawSeed } from '../../support/random.ts'
import { keyOf, type TestEvent } from '../events.ts'
import { countCopies, soundView } from '../planted-views.ts'
import {
  eventOf,
  ID_KINDS,
  neverRebuilt,
  readConflicts,
  sendCopies,
  sendEach,
  sendFirst,
  settledProblems,
} from './identity-world.ts'
import {
  countedProblems,
  type OutageTenant,
  type OutageWorld,
  openOutageTenant,
  openOutageWorld,
} from './outage-world.ts'
import { forgetEndedLog, repartition, sealBetween } from './repartition.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 400_000, hookTimeout: 180_000 })

/**
 * Issue 5, exactness: "identity (tenant, source, id) … resent after seconds, after hours, after aggregator restarts,
 * after repartitioning 4 → 12; the same id 1,000 times with times spread over 60 days counts 1; UUIDv7, ULID and opaque
 * ids"; design.md §4.1.
 */
const seed = drawSeed('identity on servers')
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const HOURS = [1, 2, 3, 5, 8, 13]
const EVENTS_AN_HOUR = 10
const COPIES = 1_000
const KINDS = Object.keys(ID_KINDS)
let world: OutageWorld

beforeAll(async () => {
  world = await openOutageWorld({ processes: ['ingest-1', 'ingest-2', 'aggregator-1', 'invoicer-1'] })
})
afterAll(() => world?.remove())

/** Events of some hours before now; ids of every kind were made when they happened. */
function eventsOfHours({ source: { random } }: OutageTenant): TestEvent[] {
  const each = Array.from({ length: EVENTS_AN_HOUR }, () => HOURS).flat()
  return KINDS.flatMap((kind) => each.map((hours) => eventOf(kind, random, Date.now() - hours * HOUR_MS)))
}

test('UUIDv7, ULID and opaque ids of hours ago, sent again after aggregators restarted, count once', async () => {
  const tenant = await openOutageTenant(world, 'hours', seed)
  const events = eventsOfHours(tenant)
  await sendFirst(tenant, events)
  expect(await settledProblems(world, tenant), `seed ${seed}`).toEqual([])
  // After hours: their slices have closed and their shards were rebuilt, so usage is read from rollups.
  const left = () => neverRebuilt(world, tenant)
  expect(await eventually(left, (shards) => shards === 0, 60_000)).toBe(0)
  const aggregator = world.rig.process('aggregator-1')
  await aggregator.restart()
  const copies = await sendCopies(tenant, events)
  expect(await settledProblems(world, tenant), `seed ${seed}`).toEqual([])
  await aggregator.crash()
  copies.push(...(await sendCopies(tenant, events)))
  await aggregator.start()
  expect(await settledProblems(world, tenant), `seed ${seed}`).toEqual([])
  // Copies with another time contradict: the first one counts, and they are listed.
  const first = new Map(events.map((event) => [keyOf(event), event.timeMs]))
  const contradicting = copies.filter((one) => one.timeMs !== undefined && one.timeMs !== first.get(keyOf(one)))
  expect(new Set((await readConflicts(tenant)).map(keyOf))).toEqual(new Set(contradicting.map(keyOf)))
})

test('one id sent 1,000 times with times spread over 60 days counts 1, is listed as a conflict and is counted', async () => {
  const tenant = await openOutageTenant(world, 'sixty-days', seed)
  const { random } = tenant.source
  const firsts = KINDS.map((kind) => eventOf(kind, random, Date.now() - 59 * DAY_MS))
  await sendFirst(tenant, firsts)
  const copies = Array.from({ length: COPIES - 1 }, (_, copy) => {
    const timeMs = Date.now() - Math.floor((60 * DAY_MS * copy) / COPIES)
    return firsts.map((first) => ({ ...first, timeMs, context: first.context + copy }))
  }).flat()
  // In requests of their own: copies within one request are told apart before the log.
  await sendEach(tenant, copies, KINDS.length)
  expect(await settledProblems(world, tenant), `seed ${seed}`).toEqual([])
  const conflicts = await readConflicts(tenant)
  const counted = firsts.map((first) => ({
    source: first.source,
    id: first.id,
    payloads: COPIES,
    counted: expect.objectContaining({ time: new Date(first.timeMs ?? 0).toISOString() }),
  }))
  expect(conflicts).toHaveLength(KINDS.length)
  expect(conflicts).toEqual(expect.arrayContaining(counted.map((one) => expect.objectContaining(one))))
  // The gauge is taken anew at a start, and every minute.
  await world.rig.process('aggregator-1').restart()
  const gauge = async () => {
    const metrics = await (await fetch(`${world.rig.process('aggregator-1').url()}/metrics`)).text()
    return /^billing_event_conflicts\{tenant="sixty-days"\} (\d+)$/m.exec(metrics)?.[1]
  }
  expect(await eventually(gauge, (seen) => seen !== undefined)).toBe(String(KINDS.length))
})

/** design.md §2.4: "More partitions = a new topic generation, never a grown topic." */
test('repartitioned from 4 to 12 under traffic, copies sent across it: nothing is lost or counted twice', async () => {
  const tenant = await openOutageTenant(world, 'repartitioned', seed)
  const figures = await repartition(world, tenant)
  process.stdout.write(`identity: repartitioned: ${JSON.stringify(figures)}\n`)
  expect(figures.partitions).toEqual([4, 12])
  expect(figures.firstLogAfterItsEnd, 'who was not restarted still wrote to the first log').toBeGreaterThan(0)
  expect(figures.eventsOfSecondLog, 'copies lie in the second log').toBeGreaterThan(figures.copiesAcross)
  expect(await settledProblems(world, tenant), `seed ${seed}`).toEqual([])
})

test('no seal is given by an aggregator that does not read the new log, and the next one holds all of both', async () => {
  const tenant = await openOutageTenant(world, 'sealed-across', seed)
  const { whileOneLogIsUnread, logs, problems } = await sealBetween(world, tenant)
  expect(whileOneLogIsUnread).toBe('running')
  expect(logs).toHaveLength(3)
  expect(problems, `seed ${seed}`).toEqual([])
})

/** design.md §4.9. */
test('an aggregator that forgets the log before: the rest of it is never stored', async () => {
  const tenant = await openOutageTenant(world, 'forgotten', seed)
  const problems = await forgetEndedLog(world, tenant)
  expect(problems.filter((problem) => problem.startsWith('lost: ')).length).toBeGreaterThan(0)
})

test('with a view that counts every copy, copies of every kind of id are found out', async () => {
  const tenant = await openOutageTenant(world, 'copies-count', seed)
  const events = eventsOfHours(tenant)
  await sendFirst(tenant, events)
  await sendCopies(tenant, events)
  const store = openClickHouse(world.stack.clickhouse.url)
  await countCopies(store)
  const problems = await countedProblems(tenant, 5_000)
  await soundView(store)
  await store.close()
  expect(problems).not.toEqual([])
})
