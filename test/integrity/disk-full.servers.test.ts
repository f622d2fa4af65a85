import { afterEach, expect, test, vi } from 'vitest'
import { eventually } from '../support/product.ts'
import { drawSeed } from '../support/random.ts'
import { METERS } from './catalog.ts'
import { type EmbeddedSite, openEmbeddedSite } from './embedded-site.ts'
import { cloudEvent } from './events.ts'
import { createRig, type Rig } from './kill-nine.ts'
import { mountSmallDisk, type SmallDisk } from './small-disk.ts'
import type { Plant } from './steps.ts'
import { openTraffic, type TrafficWorld } from './traffic-world.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 200_000, hookTimeout: 60_000 })

/**
 * Issue 5: "disk full on the embedded stores: no loss, no double count, lag recovers by itself"; design.md §4.2, §2.5.
 * With the tests on servers because a disk is mounted, which takes root.
 */
const seed = drawSeed('disk full')
const EVENTS = 500
const EVENTS_PER_REQUEST = 50
/** Freed pages of the store take some more. */
const MOST_REQUESTS = 400
const REFUSED = 20
let rig: Rig
let disk: SmallDisk
let site: EmbeddedSite

afterEach(async () => {
  await site?.stop()
  disk?.remove()
  await rig?.remove()
})

/** The product with some of its folders on a small disk, and events on it. */
async function open(folders: readonly string[], megabytes: number, plant?: Plant): Promise<TrafficWorld> {
  rig = createRig(plant)
  disk = mountSmallDisk(rig.folder, folders, megabytes)
  site = await openEmbeddedSite(rig)
  const world = await openTraffic(site, 'full', seed)
  await world.sendAll(EVENTS)
  return world
}

/** Sends new events until so many requests were refused; the statuses of all. */
async function sendUntilRefused({ tenant, source }: TrafficWorld, subject?: string): Promise<number[]> {
  const statuses: number[] = []
  while (statuses.length < MOST_REQUESTS && statuses.filter((status) => status !== 202).length < REFUSED) {
    const events = Array.from({ length: EVENTS_PER_REQUEST }, () => source.next())
    const body = events.map((event) => cloudEvent(subject ? { ...event, subject, timeMs: undefined } : event))
    statuses.push((await tenant().send('POST', '/events', body)).status)
  }
  return statuses
}

async function readyStatus(): Promise<number> {
  return (await fetch(`${site.url()}/readyz`)).status
}

async function expectNothingWrong(world: TrafficWorld): Promise<void> {
  expect(await world.settle(60_000), `seed ${seed}`).toEqual([])
  expect(await world.tenant().call('GET', '/dead-letters')).toMatchObject({ dead_letters: [] })
  await site.stop()
  expect(await world.compareIdentities(), `seed ${seed}`).toEqual([])
  expect(world.ledger.surprises).toEqual([])
}

test('the disk full under log and quota counters: 503, nothing acknowledged is lost, and it goes on by itself', async () => {
  const world = await open(['log', 'quota'], 24)
  const limited = await openTraffic(site, 'limited', seed)
  await limited.tenant().call('PUT', `/quota/limited/${METERS.context}`, { limit: '1000000000', window: 'month' })
  disk.fill()
  for (const subject of [undefined, 'limited']) {
    const statuses = await sendUntilRefused(limited, subject)
    expect(statuses.filter((status) => status !== 202)).toEqual(Array.from({ length: REFUSED }, () => 503))
  }
  await world.sendUntilSilent(EVENTS)
  const acknowledged = world.ledger.acknowledged.size
  expect(world.ledger.waiting.length, 'the emitter keeps what was refused').toBeGreaterThan(0)
  disk.giveBack()
  await world.sendAll(EVENTS)
  expect(world.ledger.acknowledged.size).toBeGreaterThan(acknowledged)
  await expectNothingWrong(world)
})

test('the disk full under ClickHouse: events are taken, the product tells, and all is stored when there is space', async () => {
  const world = await open(['clickhouse', 'clickhouse-scratch'], 128)
  await world.settle(60_000)
  disk.fill()
  await world.sendAll(EVENTS)
  expect(world.ledger.failedRequests).toBe(0)
  expect(await eventually(readyStatus, (status) => status === 503, 60_000)).toBe(503)
  disk.giveBack()
  expect(await eventually(readyStatus, (status) => status === 200, 60_000)).toBe(200)
  await expectNothingWrong(world)
})

/** design.md §4.9. */
test('acknowledged before it is written: what a full disk refused is lost', async () => {
  const world = await open(['log'], 24, 'acknowledge-early')
  disk.fill()
  // Whether the process survives that or not.
  for (let round = 0; round < 4; round++) await world.sendUntilSilent(EVENTS)
  await site.stop()
  disk.giveBack()
  await site.start()
  await world.sendAll(EVENTS)
  await world.settle(5_000)
  await site.stop()
  const problems = await world.compareIdentities()
  expect(problems.filter((problem) => problem.startsWith('lost: ')).length).toBeGreaterThan(0)
})
