import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLegalEntity } from '../../../../invoicer/agreements/entities/create-legal-entity.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { retryParked } from '../../../../invoicer/billing/run/retry-parked.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, NOVEMBER, type World } from '../../support/world.ts'
import { billed, DAY_MS, DOLLARS, openDoors, work } from './reviewed-world.ts'

let database: TestDatabase
let tenants = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const inTenant = <T>(world: World, act: Parameters<typeof world.transact<T>>[1]) => world.transact(world.tenantId, act)
const retry = (world: World, id: string) => inTenant(world, (tx) => retryParked(tx, id, world))
const report = (world: World, id: string) => inTenant(world, (tx) => readRun(tx, id))

/** Greek customers cannot be taxed before it is known where they are; `known` is. */
async function untaxable(): Promise<World> {
  tenants += 1
  const world = await createWorld(database, `retry-${tenants}`)
  await world.plan(DOLLARS)
  const tax = {
    enabled: true,
    engine: 'embedded',
    rounding: 'per_line',
    inclusive: false,
    euConsumers: 'destination',
  } as const
  const registrations = [{ country: 'GR', number: 'EL094014201' }]
  const seller = { key: 'hellas', name: 'Hellas', country: 'GR', address: null, numberPrefix: 'HELLAS' }
  await inTenant(world, (tx) => createLegalEntity(tx, { ...seller, registrations, tax, defaultCurrency: null }, world))
  for (const name of ['lost', 'known', 'lost-too']) {
    await world.subscribe(name, { plan: 'dollars' })
    world.use(name, 'context_tokens', '100', NOVEMBER)
  }
  await locate(world, 'known')
  return world
}

const locate = (world: World, name: string) =>
  inTenant(world, (tx) =>
    tx.query('UPDATE customers SET billing_address = $2 WHERE external_key = $1', [
      name,
      JSON.stringify({ line1: null, line2: null, city: null, region: null, postalCode: null, country: 'GR' }),
    ]),
  )

describe('what a run has parked (issue 7, the batch)', () => {
  test('is tried again with its as_of and W alone, and leaves its list as it is billed', async () => {
    const world = await untaxable()
    const id = await world.run()
    expect(await billed(world)).toEqual(['known 2023-11 12400'])
    expect(await report(world, id)).toMatchObject({ parkedCount: 2 })
    await locate(world, 'lost')
    // Known behind W, and due behind it: neither is for this run.
    world.clock.nowMs += DAY_MS
    world.use('lost', 'context_tokens', '1000', NOVEMBER, world.clock.nowMs)
    await world.subscribe('newcomer', { plan: 'dollars' })
    await locate(world, 'newcomer')
    const { runId } = await retry(world, id)
    expect(await retry(world, id)).toEqual({ runId })
    await expect(work(world, runId)).resolves.toBe('completed')
    expect(await billed(world)).toEqual(['known 2023-11 12400', 'lost 2023-11 12400'])
    const [first, again] = [await report(world, id), await report(world, runId)]
    expect(first.parked.map(({ reason }) => reason)).toHaveLength(1)
    expect(again).toMatchObject({
      retriesRun: id,
      asOfMs: first.asOfMs,
      knownBeforeMs: first.knownBeforeMs,
      subscriptionsDue: 2,
      invoicesCreated: 1,
      parkedCount: 1,
      seal: { eventCount: first.seal!.eventCount, digest: first.seal!.digest },
    })
    await locate(world, 'lost-too')
    const last = await retry(world, id)
    expect(last.runId).not.toBe(runId)
    await Promise.all([work(world, last.runId), work(world, last.runId)])
    expect((await report(world, id)).parkedCount).toBe(0)
    expect(await billed(world)).toHaveLength(3)
    // Nothing is left: the same call answers what tried it.
    expect(await retry(world, id)).toEqual(last)
    // What came late for it is billed by the next run.
    await world.run()
    expect(await billed(world)).toContainEqual('lost 2023-11 124000')
    expect(await billed(world)).toHaveLength(5)
  })

  test('and a later run has billed is not tried again, nor billed twice by a retry that was under way', async () => {
    const world = await untaxable()
    const id = await world.run()
    const { runId } = await retry(world, id)
    for (const name of ['lost', 'lost-too']) await locate(world, name)
    world.clock.nowMs += 1000
    await world.run()
    await work(world, runId)
    expect(await billed(world)).toHaveLength(3)
    expect(await report(world, runId)).toMatchObject({ state: 'completed', invoicesCreated: 0, parked: [] })
    expect(await retry(world, id)).toEqual({ runId })
  })

  test('is refused where there is nothing to try', async () => {
    const world = await untaxable()
    for (const name of ['lost', 'lost-too']) await locate(world, name)
    const id = await world.run()
    await expect(retry(world, id)).rejects.toMatchObject({ code: 'illegal_state' })
    await expect(retry(world, world.newId())).rejects.toMatchObject({ code: 'not_found' })
  })

  test('is tried over HTTP, and the answer names the run that does', async () => {
    const world = await untaxable()
    const { call, left, start, close } = openDoors(database, world)
    const run = await start()
    expect(run).toMatchObject({ state: 'completed', parked_count: 2 })
    await locate(world, 'lost')
    const answer = await call('POST', `/billing-runs/${run.id}/retry-parked`)
    expect(answer).toMatchObject({ status: 202, body: { retries: run.id, as_of: run.as_of } })
    expect(await left(answer.body.id)).toMatchObject({ state: 'completed', invoices_created: 1, parked_count: 1 })
    expect((await call('GET', `/billing-runs/${run.id}`)).body).toMatchObject({ parked_count: 1 })
    const dry = await start({ dry_run: true })
    expect(await call('POST', `/billing-runs/${dry.id}/retry-parked`)).toMatchObject({ status: 409 })
    await close()
  })
})
