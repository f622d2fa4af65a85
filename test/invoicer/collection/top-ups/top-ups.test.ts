import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { UsageReader } from '../../../../invoicer/billing/usage.ts'
import { createSchedule } from '../../../../invoicer/collection/credits/create-schedule.ts'
import { readCredit } from '../../../../invoicer/collection/credits/read-credit.ts'
import type { ChargeRequest, ChargeResult, Gateway } from '../../../../invoicer/collection/payments/gateway.ts'
import {
  type PutRule,
  putRule,
  readPurchases,
  readRule,
  removeRule,
} from '../../../../invoicer/collection/top-ups/change-rule.ts'
import { chargePurchases } from '../../../../invoicer/collection/top-ups/charge-purchases.ts'
import { openPurchases } from '../../../../invoicer/collection/top-ups/open-purchases.ts'
import { tenantsWithOpenPurchases } from '../../../../invoicer/collection/top-ups/purchases.postgres.ts'
import { listBillingEvents } from '../../../../invoicer/outbox/history.postgres.ts'
import type { Transact } from '../../../../invoicer/transaction.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import {
  behind,
  DAY_MS,
  deliveries,
  endpoint,
  give,
  HOUR_MS,
  MINUTE_MS,
  open,
  type Watched,
  watcher,
} from '../credits/watched-credit.ts'

const PAGE = { after: null, limit: 100 }
const FEBRUARY = Date.UTC(2024, 1, 1)
const MUCH = '10000000000000.01'
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** In the middle of November, at a cent a token. */
const shop = () => {
  worlds += 1
  return open(database, `top-ups-${worlds}`, 'ann')
}
const rule: PutRule = {
  ...{ customer: 'ann', threshold: '10.00', amount: '25.00', mostPurchases: 3, per: 'month', priority: 0 },
  ...{ expiresAfterDays: null, scope: null },
}
const put = (world: Watched, change: Partial<PutRule> = {}) =>
  world.transact(world.tenantId, (tx) => putRule(tx, { ...rule, ...change }, world, 'manual'))

/** A gateway that keeps a book: asked again with a key it answers what it did. */
function bank(answer: (asked: number) => ChargeResult['outcome'] = () => 'succeeded') {
  const book = new Map<string, ChargeResult>()
  const asked: ChargeRequest[] = []
  const gateway: Gateway = {
    name: 'manual',
    charge: async (request) => {
      asked.push(request)
      const known = book.get(request.idempotencyKey)
      if (known !== undefined) return known
      const outcome = answer(asked.length)
      if (outcome === 'unknown') throw new Error('no answer')
      const result: ChargeResult =
        outcome === 'succeeded' ? { outcome, reference: `r${book.size + 1}` } : { outcome, reason: 'no money' }
      book.set(request.idempotencyKey, result)
      return result
    },
  }
  const taken = () => [...book.values()].filter(({ outcome }) => outcome === 'succeeded').length
  return { gateway, asked, taken }
}
const charge = (world: Watched, gateway: Gateway, transact: Transact = world.transact, failed = vi.fn()) =>
  chargePurchases({ now: world.now, newId: world.newId, transact, gateway }, world.tenantId, failed)
const purchases = async (world: Watched) => {
  const all = await world.transact(world.tenantId, (tx) => readPurchases(tx, 'ann', PAGE))
  return all.map(({ state, amountMinor, availableMinor }) => {
    return `${state} ${formatMoney(amountMinor, 'USD')} at ${formatMoney(availableMinor, 'USD')}`
  })
}
const credit = async (world: Watched) => {
  const read = await world.transact(world.tenantId, (tx) => readCredit(tx, 'ann', PAGE, world.now()))
  return { balance: formatMoney(read.balanceMinor, 'USD'), grants: read.grants.length }
}
const aMinuteLater = async (world: Watched, { pass }: { pass: () => Promise<void> } = watcher(world)) => {
  world.clock.nowMs += MINUTE_MS
  await pass()
}

/** Issue 7: automatic top-up. */
describe('credit is bought by itself when too little is available', () => {
  test('at once where the balance is too low, and later when usage that is not invoiced makes it so', async () => {
    const world = await shop()
    const { gateway, asked, taken } = bank()
    await put(world)
    expect(await purchases(world)).toEqual(['created 25.00 at 0.00'])
    expect(await tenantsWithOpenPurchases(database.pool, world.now())).toContain(world.tenantId)
    expect(await charge(world, gateway)).toBe(1)
    expect(await charge(world, gateway)).toBe(0)
    expect(await credit(world)).toEqual({ balance: '25.00', grants: 1 })
    world.use('ann', 'context_tokens', '1500', NOVEMBER)
    await aMinuteLater(world)
    // 10.00 are available, which is not below.
    expect(await purchases(world)).toHaveLength(1)
    world.use('ann', 'context_tokens', '1', NOVEMBER)
    await aMinuteLater(world)
    await aMinuteLater(world)
    expect(await purchases(world)).toEqual(['paid 25.00 at 0.00', 'created 25.00 at 9.99'])
    await charge(world, gateway)
    await aMinuteLater(world)
    expect(await credit(world)).toEqual({ balance: '50.00', grants: 2 })
    expect([asked.length, taken()]).toEqual([2, 2])
    const told = await world.transact(world.tenantId, (tx) =>
      listBillingEvents(tx, { invoice: null, customer: 'ann' }, PAGE),
    )
    expect(told.map(({ event }) => event).filter((event) => event.startsWith('credit.top_up'))).toEqual([
      ...[
        'credit.top_up_set',
        'credit.top_up_opened',
        'credit.top_up_paid',
        'credit.top_up_opened',
        'credit.top_up_paid',
      ],
    ])
    world.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await world.run()
    const invoice = (await world.invoices()).find(({ subscriptionId }) => subscriptionId !== null)
    expect(invoice).toMatchObject({ totalMinor: 1_501n, creditMinor: 1_501n, amountDueMinor: 0n })
  })

  test('so often at most in a month of the customer, and again in the next one', async () => {
    const world = await shop()
    const { gateway } = bank()
    await give(world, 'ann', '1.00')
    await put(world, { threshold: '1000.00', mostPurchases: 2 })
    for (let minutes = 0; minutes < 4; minutes += 1) {
      await charge(world, gateway)
      await aMinuteLater(world)
    }
    expect(await purchases(world)).toEqual(['paid 25.00 at 1.00', 'paid 25.00 at 26.00'])
    world.clock.nowMs = DECEMBER - 2 * MINUTE_MS
    await aMinuteLater(world)
    expect(await purchases(world)).toHaveLength(2)
    await aMinuteLater(world)
    expect(await purchases(world)).toHaveLength(3)
  })

  test('one at a time, whoever looks or charges at once, and one grant for it', async () => {
    const world = await shop()
    const { gateway, taken } = bank()
    await put(world, { threshold: '0.00' })
    const { customerId } = await world.transact(world.tenantId, (tx) => readRule(tx, 'ann'))
    const low = [{ customerId, availableMinor: -1n, grants: 0 }]
    const opened = await Promise.all(
      Array.from({ length: 6 }, () =>
        world.transact(world.tenantId, (tx) => openPurchases(tx, world, 'manual', low, world.now())),
      ),
    )
    expect(opened.toSorted()).toEqual([0, 0, 0, 0, 0, 1])
    await Promise.all(Array.from({ length: 4 }, () => charge(world, gateway)))
    world.clock.nowMs += 2 * MINUTE_MS
    await charge(world, gateway)
    expect(taken()).toBe(1)
    expect(await credit(world)).toEqual({ balance: '25.00', grants: 1 })
  })

  test('what is paid while a look reads usage is not bought again by that look', async () => {
    const world = await shop()
    const { gateway, taken } = bank()
    await give(world, 'ann', '1.00')
    await put(world)
    const usage: UsageReader = {
      ...world.deps.usage,
      quantities: async (...asked) => {
        await charge(world, gateway)
        return world.deps.usage.quantities(...asked)
      },
    }
    world.use('ann', 'context_tokens', '100', NOVEMBER)
    await aMinuteLater(world, watcher(world, { usage }))
    expect(await purchases(world)).toEqual(['paid 25.00 at 1.00'])
    world.use('ann', 'context_tokens', '1600', NOVEMBER)
    await aMinuteLater(world)
    expect(await purchases(world)).toEqual(['paid 25.00 at 1.00', 'created 25.00 at 9.00'])
    expect(taken()).toBe(1)
  })

  test('below a threshold of 0 too, for a customer that never had credit', async () => {
    const world = await shop()
    await put(world, { threshold: '0.00' })
    await aMinuteLater(world)
    expect(await purchases(world)).toEqual([])
    world.use('ann', 'context_tokens', '100', NOVEMBER)
    await aMinuteLater(world)
    expect(await purchases(world)).toEqual(['created 25.00 at -1.00'])
  })

  test('credit that is due is not bought, and what is bought right behind it stands on top of it', async () => {
    const world = await shop()
    const monthly = { externalKey: 'm', customer: 'ann', name: null, amount: '50.00', priority: 0, scope: null }
    const terms = {
      rollover: null,
      untilMs: null,
      grants: null,
      expires: 'next_grant',
      expiresAfterDays: null,
    } as const
    const cadence = { interval: 'month', every: 1 } as const
    const start = { ...monthly, ...terms, cadence, startMs: DECEMBER }
    await world.transact(world.tenantId, (tx) => createSchedule(tx, start, world))
    world.clock.nowMs = DECEMBER
    await put(world)
    expect(await purchases(world)).toEqual([])
    expect(await credit(world)).toEqual({ balance: '50.00', grants: 1 })
    await put(world, { threshold: '60.00' })
    world.clock.nowMs = JANUARY
    await charge(world, bank().gateway)
    const { grants } = await world.transact(world.tenantId, (tx) => readCredit(tx, 'ann', PAGE, JANUARY))
    expect(grants.map(({ balanceMinor }) => balanceMinor)).toEqual([5_000n, 5_000n, 7_500n])
    world.clock.nowMs = FEBRUARY
    expect((await give(world, 'ann', '1.00')).grant.balanceMinor).toBe(7_600n)
  })

  test('a rule that was removed and is set anew while its purchase is being paid finds what was bought', async () => {
    const world = await shop()
    const { gateway, taken } = bank()
    await put(world)
    await world.transact(world.tenantId, (tx) => removeRule(tx, 'ann', world))
    let setting: Promise<unknown> | undefined
    const setMeanwhile = async () => {
      let backend = 0
      setting = world.transact(world.tenantId, async (tx) => {
        backend = (await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]!.pid
        await putRule(tx, rule, world, 'manual')
      })
      const sql = 'SELECT FROM pg_locks WHERE pid = $1 AND NOT granted'
      while ((await database.pool.query(sql, [backend])).rowCount === 0);
    }
    await charge(world, gateway, behind(world, /UPDATE credit_purchases p\s+SET state/, setMeanwhile))
    await setting
    expect(await purchases(world)).toEqual(['paid 25.00 at 0.00'])
    expect(taken()).toBe(1)
  })

  test('what is bought has the rule’s priority, scope and expiry', async () => {
    const world = await shop()
    const scope = { meters: ['context_tokens'], charges: [] }
    await put(world, { priority: 9, scope, expiresAfterDays: 30 })
    await charge(world, bank().gateway)
    const { grants } = await world.transact(world.tenantId, (tx) => readCredit(tx, 'ann', PAGE, world.now()))
    const expiresAtMs = world.now() + 30 * DAY_MS
    expect(grants).toMatchObject([{ priority: 9, scope, expiresAtMs, externalKey: null, amountMinor: 2_500n }])
  })

  test('amounts and scopes that cannot be are refused; a removed rule buys nothing, and what is open goes on', async () => {
    const world = await shop()
    const scope = { meters: ['no_such_meter'], charges: [] }
    for (const change of [
      { threshold: '-1.00' },
      { amount: '0.00' },
      { amount: '1.001' },
      { amount: MUCH },
      { scope },
    ]) {
      await expect(put(world, change)).rejects.toMatchObject({ code: 'invalid_request' })
    }
    await put(world)
    await world.transact(world.tenantId, (tx) => removeRule(tx, 'ann', world))
    await expect(world.transact(world.tenantId, (tx) => readRule(tx, 'ann'))).rejects.toMatchObject({
      code: 'not_found',
    })
    await charge(world, bank().gateway)
    world.use('ann', 'context_tokens', '9999', NOVEMBER)
    await aMinuteLater(world)
    expect(await purchases(world)).toEqual(['paid 25.00 at 0.00'])
  })
})

describe('what a gateway may do', () => {
  test('a result that cannot be stored is told, and holds up no other', async () => {
    const world = await shop()
    const others = ['ben', 'cid']
    for (const name of others) await world.subscribe(name, { endMs: null })
    for (const customer of ['ann', ...others]) await put(world, { customer })
    const { customerId } = await world.transact(world.tenantId, (tx) => readRule(tx, 'ben'))
    const ofBen = await world.transact(world.tenantId, (tx) => readPurchases(tx, 'ben', PAGE))
    const charging: Gateway['charge'] = async ({ idempotencyKey }) => {
      const reference = idempotencyKey === ofBen[0]!.id ? 'no text\u0000' : 'r'
      return { outcome: 'succeeded', reference }
    }
    const failed = vi.fn()
    await charge(world, { name: 'manual', charge: charging }, world.transact, failed)
    expect(failed.mock.calls.map(([id]) => id)).toEqual([customerId])
    const balances = await world.transact(world.tenantId, async (tx) => {
      const read = []
      for (const name of ['ann', ...others]) read.push((await readCredit(tx, name, PAGE, world.now())).balanceMinor)
      return read
    })
    expect(balances).toEqual([2_500n, 0n, 2_500n])
  })

  test('a decline waits a day; after three in a row nothing is bought, webhooks are told, and setting the rule lifts it', async () => {
    const world = await shop()
    await endpoint(world, 'hook', '{credit.top_up_suspended}')
    const { gateway, asked } = bank((count) => (count <= 3 ? 'declined' : 'succeeded'))
    await put(world)
    for (let days = 0; days < 5; days += 1) {
      for (let minutes = 0; minutes < 3; minutes += 1) {
        await charge(world, gateway)
        await aMinuteLater(world)
      }
      expect(asked).toHaveLength(Math.min(days + 1, 3))
      world.clock.nowMs += DAY_MS
    }
    expect(new Set(asked.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(3)
    const suspended = await world.transact(world.tenantId, (tx) => readRule(tx, 'ann'))
    expect(suspended).toMatchObject({ declines: 3, reason: 'no money', retryAtMs: null })
    expect(suspended.suspendedAtMs).not.toBeNull()
    expect(await deliveries(world)).toMatchObject([
      { name: 'hook', payload: { type: 'credit.top_up_suspended', data: { customer: 'ann', reason: 'no money' } } },
    ])
    expect(await credit(world)).toEqual({ balance: '0.00', grants: 0 })
    await put(world)
    await charge(world, gateway)
    expect(await credit(world)).toEqual({ balance: '25.00', grants: 1 })
    const lifted = await world.transact(world.tenantId, (tx) => readRule(tx, 'ann'))
    expect(lifted).toMatchObject({ declines: 0, suspendedAtMs: null, reason: null })
  })

  test('one that is paid between two declines begins to count anew', async () => {
    const world = await shop()
    const { gateway } = bank((count) => (count === 2 ? 'succeeded' : 'declined'))
    await give(world, 'ann', '1.00')
    await put(world, { threshold: '1000.00' })
    for (let days = 0; days < 4; days += 1) {
      await charge(world, gateway)
      world.clock.nowMs += DAY_MS
      await aMinuteLater(world)
    }
    expect(await world.transact(world.tenantId, (tx) => readRule(tx, 'ann'))).toMatchObject({
      declines: 2,
      suspendedAtMs: null,
    })
  })

  test('no answer is no decline: the same key is asked again, and nothing else is bought meanwhile', async () => {
    const world = await shop()
    const { gateway, asked } = bank((count) => (count < 3 ? 'unknown' : 'succeeded'))
    await put(world)
    const failed = vi.fn()
    for (let minutes = 0; minutes < 4; minutes += 1) {
      await charge(world, gateway, world.transact, failed)
      await charge(world, gateway, world.transact, failed)
      await aMinuteLater(world)
    }
    expect([asked.length, failed.mock.calls.length]).toEqual([3, 2])
    expect(new Set(asked.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1)
    expect(await credit(world)).toEqual({ balance: '25.00', grants: 1 })
    expect(await purchases(world)).toEqual(['paid 25.00 at 0.00'])
  })

  test.each([/UPDATE credit_purchases p\s+SET state/, /INSERT INTO credit_grants/, /INSERT INTO billing_events/])(
    'charged and killed behind %s, it is asked again with the same key, and is one grant',
    async (part) => {
      const world = await shop()
      const { gateway, taken } = bank()
      await put(world)
      const dying = behind(world, part, () => Promise.reject(new Error('killed')))
      await expect(charge(world, gateway, dying)).rejects.toThrow('killed')
      expect([taken(), await purchases(world)]).toEqual([1, ['created 25.00 at 0.00']])
      expect(await credit(world)).toEqual({ balance: '0.00', grants: 0 })
      world.clock.nowMs += MINUTE_MS
      await charge(world, gateway)
      expect([taken(), await purchases(world)]).toEqual([1, ['paid 25.00 at 0.00']])
      expect(await credit(world)).toEqual({ balance: '25.00', grants: 1 })
    },
  )
})
