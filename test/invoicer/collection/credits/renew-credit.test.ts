import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertGrants, lockOpenCredit } from '../../../../invoicer/collection/credits/credits.postgres.ts'
import { drawCredit } from '../../../../invoicer/collection/credits/draw-credit.ts'
import { expireCredit } from '../../../../invoicer/collection/credits/expire-credit.ts'
import { readCredit } from '../../../../invoicer/collection/credits/read-credit.ts'
import { endSchedule } from '../../../../invoicer/collection/credits/stop-schedule.ts'
import { listBillingEvents } from '../../../../invoicer/outbox/history.postgres.ts'
import { undone } from '../../../../invoicer/transaction.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, JANUARY, NOVEMBER, type World } from '../../support/world.ts'
import {
  balance,
  DAY_MS,
  day,
  give,
  grants,
  HOUR_MS,
  open as openWorld,
  PAGE,
  paid,
  renew,
  rollover,
  schedule,
  uses,
} from './renewing.ts'
import { behind } from './watched-credit.ts'

const FEBRUARY = Date.UTC(2024, 1, 1)
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const open = (timezone?: string) => {
  worlds += 1
  return openWorld(database, `renewals-${worlds}`, timezone)
}

describe('a schedule gives credit at the start of each of its periods, once', () => {
  test('the first at once, the next in its time, and none after it is stopped', async () => {
    const world = await open()
    const { created } = await schedule(world)
    expect(created).toBe(true)
    expect(await grants(world)).toEqual(['0 2023-11-01–2023-12-01: 100.00 of 100.00'])
    expect(await renew(world, DECEMBER - 1)).toBe(0)
    expect(await renew(world, DECEMBER)).toBe(1)
    expect(await renew(world)).toBe(0)
    expect(await balance(world)).toBe('100.00')
    const stopped = await world.transact(world.tenantId, (tx) =>
      endSchedule(tx, { customer: 'a', schedule: 'monthly' }, world),
    )
    expect(stopped).toMatchObject({ next: null, stoppedAtMs: DECEMBER })
    expect(await renew(world, FEBRUARY)).toBe(0)
    expect(await grants(world)).toEqual([
      '0 2023-11-01–2023-12-01: 100.00 of 100.00',
      '1 2023-12-01–2024-01-01: 100.00 of 100.00',
    ])
    // Stopped again it is as it was.
    world.clock.nowMs = FEBRUARY
    expect(
      await world.transact(world.tenantId, (tx) => endSchedule(tx, { customer: 'a', schedule: stopped.id }, world)),
    ).toEqual(stopped)
  })

  test('the same again answers the stored one, though its start has passed; other content and nonsense are refused', async () => {
    const world = await open()
    const first = await schedule(world, { startMs: DECEMBER })
    expect(await grants(world)).toEqual([])
    world.clock.nowMs = JANUARY
    expect(await schedule(world, { startMs: DECEMBER })).toEqual({ ...first, created: false })
    await expect(schedule(world, { startMs: DECEMBER, priority: 6 })).rejects.toMatchObject({ code: 'conflict' })
    const other = { externalKey: 'other' }
    for (const change of [
      { startMs: DECEMBER },
      { amount: '0.00' },
      { amount: '10000000000000.01' },
      { untilMs: JANUARY },
      { expires: 'after_days' as const },
      { expiresAfterDays: 3 },
      { expires: 'never' as const, rollover: rollover() },
      { rollover: rollover({ max_percent: '101' }) },
      { rollover: rollover({ max_amount: '0.00' }) },
      { scope: { meters: ['no_such_meter'], charges: [] } },
      { scope: { meters: [], charges: [] } },
    ]) {
      await expect(schedule(world, { ...other, ...change })).rejects.toMatchObject({ code: 'invalid_request' })
    }
    await expect(schedule(world, { ...other, customer: 'nobody' })).rejects.toMatchObject({ code: 'not_found' })
  })

  test('by the clock of the customer, whatever the month and however clocks change', async () => {
    const world = await open('Europe/Berlin')
    const start = Date.UTC(2024, 0, 30, 23)
    await schedule(world, { startMs: start, expires: 'never' })
    await renew(world, Date.UTC(2024, 3, 30))
    const times = await world.transact(world.tenantId, async (tx) => {
      const { grants: all } = await readCredit(tx, 'a', PAGE, world.clock.nowMs)
      return all.map(({ createdAtMs }) => new Date(createdAtMs).toISOString())
    })
    expect(times).toEqual([
      '2024-01-30T23:00:00.000Z',
      '2024-02-28T23:00:00.000Z',
      '2024-03-30T23:00:00.000Z',
      '2024-04-29T22:00:00.000Z',
    ])
  })

  test('what was missed comes all at once, in order and with its own times', async () => {
    const world = await open()
    await schedule(world, { grants: 4 })
    expect(await renew(world, Date.UTC(2024, 6, 1))).toBe(1)
    expect(await grants(world)).toEqual([
      '0 2023-11-01–2023-12-01: 100.00 of 100.00',
      '1 2023-12-01–2024-01-01: 100.00 of 100.00',
      '2 2024-01-01–2024-02-01: 100.00 of 100.00',
      '3 2024-02-01–2024-03-01: 100.00 of 100.00',
    ])
    expect(await balance(world)).toBe('0.00')
    expect(await world.transact(world.tenantId, (tx) => expireCredit(tx, world))).toBe(4)
    expect(await uses(world)).toEqual(Array(4).fill('expired 100.00'))
  })

  test('more than a hundred missed ones come in one transaction too', async () => {
    const world = await open()
    await schedule(world, { cadence: { interval: 'day', every: 1 }, amount: '1.00', expires: 'never' })
    await renew(world, NOVEMBER + 250 * DAY_MS)
    expect(await balance(world)).toBe('251.00')
  })

  test('processes that come at once give it once', async () => {
    const world = await open()
    await schedule(world, { rollover: rollover() })
    world.clock.nowMs = JANUARY
    await Promise.all(Array.from({ length: 6 }, () => renew(world, JANUARY)))
    expect(await grants(world)).toEqual([
      '0 2023-11-01–2023-12-01: 0.00 of 100.00',
      'rolled 2023-12-01–2024-01-01: 100.00 of 100.00',
      '1 2023-12-01–2024-01-01: 0.00 of 100.00',
      '2 2024-01-01–2024-02-01: 100.00 of 100.00',
      'rolled 2024-01-01–2024-02-01: 100.00 of 100.00',
    ])
  })

  test('whoever dies behind any statement leaves nothing, and the next one does all of it', async () => {
    const world = await open()
    await schedule(world, { rollover: rollover({ max_amount: '30.00' }) })
    const before = await grants(world)
    for (const part of [
      /UPDATE credit_schedules/,
      /INSERT INTO credit_grants/,
      /UPDATE credit_grants/,
      /INTO credit_uses/,
    ]) {
      const dying = behind(world, part, () => Promise.reject(new Error('killed')))
      await expect(renew(world, DECEMBER, dying)).rejects.toThrow('killed')
      expect(await grants(world)).toEqual(before)
    }
    await renew(world, DECEMBER)
    expect(await grants(world)).toEqual([
      '0 2023-11-01–2023-12-01: 0.00 of 100.00',
      'rolled 2023-12-01–2024-01-01: 30.00 of 30.00',
      '1 2023-12-01–2024-01-01: 100.00 of 100.00',
    ])
    expect(await uses(world)).toEqual(['rolled 30.00', 'expired 70.00'])
    const told = await world.transact(world.tenantId, (tx) =>
      listBillingEvents(tx, { invoice: null, customer: 'a' }, PAGE),
    )
    expect(told.map(({ event }) => event).filter((event) => event.startsWith('credit.'))).toEqual([
      ...['credit.schedule_created', 'credit.granted', 'credit.rolled_over', 'credit.expired', 'credit.granted'],
    ])
  })
})

/** As much as a balance may be: what no door gives in one grant. */
async function fill(world: World, customer: string): Promise<void> {
  const { grant } = await give(world, 'most', { customer })
  const amountMinor = 9_223_372_036_854_775_800n - grant.amountMinor
  const more = {
    ...grant,
    id: world.newId(),
    externalKey: 'more',
    amountMinor,
    remainingMinor: amountMinor,
    balanceMinor: amountMinor,
  }
  await world.transact(world.tenantId, (tx) => insertGrants(tx, [more]))
}

test('one customer whose credit cannot be stored holds up no other, and its schedule can be stopped', async () => {
  const world = await open()
  for (const name of ['b', 'c']) {
    await world.subscribe(name, { endMs: null })
    await schedule(world, { customer: name, startMs: DECEMBER, expires: 'never' })
  }
  await fill(world, 'b')
  await expect(renew(world, DECEMBER)).rejects.toThrow('of 1 customers it failed')
  const balances = await world.transact(world.tenantId, async (tx) => [
    (await readCredit(tx, 'b', PAGE, DECEMBER)).balanceMinor,
    (await readCredit(tx, 'c', PAGE, DECEMBER)).balanceMinor,
  ])
  expect(balances).toEqual([9_223_372_036_854_775_800n, 10_000n])
  const stopped = await world.transact(world.tenantId, (tx) =>
    endSchedule(tx, { customer: 'b', schedule: 'monthly' }, world),
  )
  expect(stopped).toMatchObject({ next: null, stoppedAtMs: DECEMBER })
  expect(await renew(world)).toBe(0)
})

describe('what is left when credit expires rolls over', () => {
  test('with its priority and scope, as often as was agreed; then it is lost', async () => {
    const world = await open()
    const scope = { meters: ['context_tokens'], charges: [] }
    const terms = { scope, rollover: rollover({ expires_after_days: 10, max_percent: '50', times: 2 }) }
    await give(world, 'gift', { ...terms, amount: '10.00', priority: 7, expiresAtMs: NOVEMBER + 10 * DAY_MS })
    for (const days of [10, 20, 30, 40]) await renew(world, NOVEMBER + days * DAY_MS)
    expect(await world.transact(world.tenantId, (tx) => expireCredit(tx, world))).toBe(1)
    expect(await uses(world)).toEqual(['rolled 5.00', 'expired 5.00', 'rolled 2.50', 'expired 2.50', 'expired 2.50'])
    const { grants: all } = await world.transact(world.tenantId, (tx) => readCredit(tx, 'a', PAGE, NOVEMBER))
    expect(all.map((one) => one.rolledFrom)).toEqual([null, all[0]!.id, all[1]!.id])
    for (const one of all) expect(one).toMatchObject({ priority: 7, scope })
    expect(all.map((one) => day(one.expiresAtMs!))).toEqual(['2023-11-11', '2023-11-21', '2023-12-01'])
  })

  test('what never expires, and what is not told how long it goes on, is refused', async () => {
    const world = await open()
    const days = rollover({ expires_after_days: 30 })
    await expect(give(world, 'x', { rollover: days })).rejects.toMatchObject({ code: 'invalid_request' })
    const expiresAtMs = DECEMBER
    await expect(give(world, 'x', { rollover: rollover(), expiresAtMs })).rejects.toMatchObject({
      code: 'invalid_request',
    })
    expect((await give(world, 'x', { rollover: days, expiresAtMs })).created).toBe(true)
    expect((await give(world, 'x', { rollover: days, expiresAtMs })).created).toBe(false)
    await expect(give(world, 'x', { expiresAtMs })).rejects.toMatchObject({ code: 'conflict' })
  })
})

describe('an invoice finds what is due when it is issued', () => {
  test('what a schedule brings and what rolls over, though nobody has come to give it before', async () => {
    const world = await open()
    await schedule(world, { amount: '10.00', rollover: rollover({ max_amount: '4.00' }) })
    world.use('a', 'context_tokens', '3000', NOVEMBER)
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await world.run()
    expect(await paid(world)).toEqual(['30.00 14.00 16.00'])
    expect(await grants(world)).toEqual([
      '0 2023-11-01–2023-12-01: 0.00 of 10.00',
      'rolled 2023-12-01–2024-01-01: 0.00 of 4.00',
      '1 2023-12-01–2024-01-01: 0.00 of 10.00',
    ])
  })

  test('of a scope it pays these lines, with their tax, and the rest is due', async () => {
    const world = await open()
    const scope = { meters: ['context_tokens'], charges: [] }
    await give(world, 'context', { scope, amount: '50.00', priority: 1 })
    await give(world, 'any', { amount: '25.00' })
    world.use('a', 'context_tokens', '2000', NOVEMBER)
    world.use('a', 'generated_tokens', '3000', NOVEMBER)
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await world.run()
    // 25.00 of anything goes to the 30.00 that the other may not pay.
    expect(await paid(world)).toEqual(['50.00 45.00 5.00'])
    expect(await uses(world)).toEqual(['drawn 25.00', 'drawn 20.00'])
    const { balances } = await world.transact(world.tenantId, (tx) => readCredit(tx, 'a', PAGE, world.now()))
    expect(balances).toEqual([{ scope, balanceMinor: 3_000n }])
  })
})

test('who draws for several and renews the credit of one of them waits in no circle with who draws too', async () => {
  const world = await open()
  await world.subscribe('b', { endMs: null })
  const both = [await give(world, 'x', { customer: 'a' }), await give(world, 'x', { customer: 'b' })]
  const ids = both.map(({ grant }) => grant.customerId).toSorted()
  // It is due for the one whose grants are locked last.
  await schedule(world, { customer: ids[1]!, startMs: DECEMBER })
  world.clock.nowMs = DECEMBER
  let other: Promise<unknown> | undefined
  const meanwhile = async () => {
    let backend = 0
    other = world.transact(world.tenantId, async (tx) => {
      backend = (await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]!.pid
      return lockOpenCredit(tx, ids, DECEMBER)
    })
    const sql = 'SELECT FROM pg_locks WHERE pid = $1 AND NOT granted'
    while ((await database.pool.query(sql, [backend])).rowCount === 0);
  }
  const invoices = ids.map((customerId) => {
    return { id: world.newId(), customerId, subscriptionId: world.newId(), currency: 'USD', totalMinor: 1n, lines: [] }
  })
  const transact = undone(behind(world, /locked AS MATERIALIZED/, meanwhile))
  const drawn = await transact(world.tenantId, (tx) => drawCredit(tx, world, invoices, DECEMBER))
  expect([...drawn.values()]).toEqual([1n, 1n])
  expect(await other).toHaveLength(2)
})
