import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { approveRun } from '../../../../invoicer/billing/review/approve-run.ts'
import { cancelRun } from '../../../../invoicer/billing/review/cancel-run.ts'
import { changeSettings } from '../../../../invoicer/billing/review/change-settings.ts'
import { collectCancelled } from '../../../../invoicer/billing/review/collect-cancelled.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { listUnfinishedRuns } from '../../../../invoicer/billing/run/runs.postgres.ts'
import { type Progress, RUN_STEPS, type RunStep } from '../../../../invoicer/billing/run/steps.ts'
import { collectPayments } from '../../../../invoicer/collection/payments/collect-payments.ts'
import { manualGateway } from '../../../../invoicer/collection/payments/gateway.manual.ts'
import type { Gateway } from '../../../../invoicer/collection/payments/gateway.ts'
import { withdrawAttempts } from '../../../../invoicer/collection/payments/withdraw-attempts.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, type World } from '../../support/world.ts'
import { billed, historyOf, open, secondMonth, untilSomebodyWaits, work } from './reviewed-world.ts'

let database: TestDatabase
let tenants = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const DECEMBER_BILLED = [
  'drop 2023-12 10000',
  'fresh 2023-12 2000000',
  'spike 2023-12 50000',
  'steady 2023-12 11000',
  'zero 2023-12 0',
]

async function reviewed(): Promise<World> {
  tenants += 1
  const world = await secondMonth(database, `interrupted-${tenants}`)
  await world.transact(world.tenantId, (tx) => changeSettings(tx, { approval: 'always' }, 'key', world))
  return world
}

const inTenant = <T>(world: World, act: Parameters<World['transact']>[1]) =>
  world.transact(world.tenantId, act) as Promise<T>
const approve = (world: World, id: string) => inTenant<void>(world, (tx) => approveRun(tx, id, 'key', world))
const cancel = (world: World, id: string) => inTenant<void>(world, (tx) => cancelRun(tx, id, 'key', world))
const report = (world: World, id: string) => world.transact(world.tenantId, (tx) => readRun(tx, id))
const ofDecember = async (world: World) => (await billed(world)).filter((line) => line.includes('2023-12'))
const drafted = async (world: World, id: string) =>
  (
    await world.transact(world.tenantId, (tx) =>
      tx.query<{ key: string; kind: string }>(
        `SELECT s.external_key AS key, d.kind FROM billing_run_drafts d JOIN subscriptions s ON s.id = d.subscription_id
         WHERE d.billing_run_id = $1 ORDER BY 1`,
        [id],
      ),
    )
  ).rows.map(({ key, kind }) => `${key} ${kind}`)
const DRAFTED = [
  'broken parked',
  'drop invoice',
  'fresh invoice',
  'gone missing',
  'spike invoice',
  'steady invoice',
  'zero invoice',
]

/** Acts as a step begins for the nth time. */
const at = (step: RunStep, time: number, act: () => Promise<void>) => {
  let reached = 0
  return (write: Progress): Progress =>
    async (begun) => {
      await write(begun)
      if (begun !== step) return
      reached += 1
      if (reached === time) await act()
    }
}
const dies = async () => {
  throw new Error('killed')
}
const REPEATED: RunStep[] = ['rate', 'issue', 'attempt', 'charge', 'settle']
const PLACES = RUN_STEPS.flatMap((step) => (REPEATED.includes(step) ? [1, 2] : [1]).map((time) => ({ step, time })))
const BEFORE_APPROVAL: RunStep[] = ['open', 'request-seal', 'await-seal', 'review']

describe('a run that is to be approved, and dies', () => {
  test.each(PLACES)('as step $step begins, time $time, bills once after its approval', async ({ step, time }) => {
    const world = await reviewed()
    const id = await open(world)
    const untilApproval = work(world, id, at(step, time, dies))
    if (BEFORE_APPROVAL.includes(step)) {
      await expect(untilApproval).rejects.toThrow('killed')
      expect(await inTenant(world, listUnfinishedRuns)).toEqual([id])
      await expect(work(world, id)).resolves.toBe('awaiting_approval')
    } else {
      await expect(untilApproval).resolves.toBe('awaiting_approval')
    }
    expect(await inTenant(world, listUnfinishedRuns)).toEqual([])
    await expect(work(world, id)).resolves.toBe('awaiting_approval')
    expect(await ofDecember(world)).toEqual([])
    expect(await drafted(world, id)).toEqual(DRAFTED)
    await approve(world, id)
    if (!BEFORE_APPROVAL.slice(0, 3).includes(step)) {
      await expect(work(world, id, at(step, time, dies))).rejects.toThrow('killed')
      expect(await inTenant(world, listUnfinishedRuns)).toEqual([id])
    }
    await expect(work(world, id)).resolves.toBe('completed')
    expect(await ofDecember(world)).toEqual(DECEMBER_BILLED)
    expect(await historyOf(world, 'billing_run.awaiting_approval')).toHaveLength(1)
  })

  test.each([1, 2, 3, 4])('behind transaction %i of its drafts, drafts the rest and nothing twice', async (time) => {
    const world = await reviewed()
    const id = await open(world)
    const { transact } = world.deps
    let inserts = 0
    // Dies behind the nth transaction of its drafts, before it could know that this is committed.
    world.deps.transact = async (tenantId, act) => {
      let wrote = false
      const answer = await transact(tenantId, (tx) =>
        act(
          new Proxy(tx, {
            get: (target, name) => {
              if (name !== 'query') return Reflect.get(target, name)
              return (text: string, values?: unknown[]) => {
                wrote ||= text.includes('review_part = $4')
                return target.query(text, values)
              }
            },
          }),
        ),
      )
      if (wrote) inserts += 1
      if (wrote && inserts === time) throw new Error('killed')
      return answer
    }
    await expect(work(world, id)).rejects.toThrow('killed')
    world.deps.transact = transact
    await expect(work(world, id)).resolves.toBe('awaiting_approval')
    expect(await drafted(world, id)).toEqual(DRAFTED)
    expect((await report(world, id)).isDrafted).toBe(true)
  })

  test('four runners at once draft each subscription once, ask once, and bill once', async () => {
    const world = await reviewed()
    const id = await open(world)
    const four = () => Promise.all([1, 2, 3, 4].map(() => work(world, id)))
    expect(await four()).toEqual(Array(4).fill('awaiting_approval'))
    expect(await drafted(world, id)).toEqual(DRAFTED)
    expect(await historyOf(world, 'billing_run.awaiting_approval')).toHaveLength(1)
    await Promise.all([approve(world, id), approve(world, id)])
    expect(await four()).toEqual(Array(4).fill('completed'))
    expect(await ofDecember(world)).toEqual(DECEMBER_BILLED)
    expect(await historyOf(world, 'billing_run.approved')).toHaveLength(1)
  })

  test('of approval and cancellation at once one holds, and the runners follow it', async () => {
    const world = await reviewed()
    const id = await open(world)
    await work(world, id)
    const both = await Promise.allSettled([approve(world, id), cancel(world, id)])
    // Whoever approves first may still be cancelled; whoever cancels first is not approved any more.
    expect(both[1]!.status).toBe('fulfilled')
    await expect(work(world, id)).resolves.toBe('cancelled')
    expect(await ofDecember(world)).toEqual([])
    await expect(approve(world, id)).rejects.toMatchObject({ code: 'illegal_state' })
  })
})

describe('a run that is cancelled', () => {
  test.each(PLACES)(
    'as step $step begins, time $time, keeps what it issued, and the next bills the rest once',
    async ({ step, time }) => {
      tenants += 1
      const world = await secondMonth(database, `cancelled-${tenants}`)
      const id = await open(world)
      let issuedThen: string[] = []
      let chargedThen = new Set<string>()
      const keysCharged = () => new Set(world.charged.map(({ idempotencyKey }) => idempotencyKey))
      let letGo = () => {}
      const cancelled = new Promise<void>((resolve) => {
        letGo = resolve
      })
      const one = at(step, time, async () => {
        await cancel(world, id)
        issuedThen = await ofDecember(world)
        chargedThen = keysCharged()
        letGo()
      })
      // It comes as far as the step, and goes on behind the cancellation.
      const other = at(step, 1, () => cancelled)
      expect(await Promise.all([work(world, id, one), work(world, id, other)])).toEqual(['cancelled', 'cancelled'])
      expect(await ofDecember(world)).toEqual(issuedThen)
      expect(keysCharged()).toEqual(chargedThen)
      expect(await report(world, id)).toMatchObject({ state: 'cancelled', cancelledBy: 'key', error: null })
      expect(await inTenant(world, listUnfinishedRuns)).toEqual([])
      await expect(work(world, id)).resolves.toBe('cancelled')
      world.clock.nowMs += 1000
      await world.run()
      expect(await ofDecember(world)).toEqual(DECEMBER_BILLED)
      const numbers = (await world.invoices()).map(({ number }) => number).sort()
      expect(numbers).toEqual(numbers.map((_, index) => `INV-${String(index + 1).padStart(6, '0')}`))
      await cancel(world, id)
      expect(await historyOf(world, 'billing_run.cancelled')).toHaveLength(1)
    },
  )

  test('while chunks are being issued waits for their end, and answers behind that; no other is begun', async () => {
    tenants += 1
    const world = await secondMonth(database, `cancelled-${tenants}`)
    const id = await open(world)
    const { drawCredit } = world.deps
    const order: string[] = []
    let cancelling: Promise<void> | undefined
    world.deps.drawCredit = async (tx, ...rest) => {
      // In the midst of the transaction of the first chunk; the second may have begun by then.
      cancelling ??= cancel(world, id).then(() => void order.push('cancelled'))
      await untilSomebodyWaits(database)
      order.push('chunk goes on')
      return drawCredit(tx, ...rest)
    }
    await expect(work(world, id)).resolves.toBe('cancelled')
    await cancelling
    expect(order.slice(0, -1).every((one) => one === 'chunk goes on')).toBe(true)
    expect(order.at(-1)).toBe('cancelled')
    expect([3, 6]).toContain((await ofDecember(world)).length)
    world.deps.drawCredit = drawCredit
    world.clock.nowMs += 1000
    await world.run()
    expect(await ofDecember(world)).toEqual(DECEMBER_BILLED)
  })

  test('in the midst of its charges has those on their way written, and begins no other', async () => {
    tenants += 1
    const world = await secondMonth(database, `cancelled-${tenants}`)
    for (let index = 0; index < 12; index += 1) {
      await world.subscribe(`more-${index}`, { plan: 'dollars', startMs: DECEMBER, endMs: null })
      world.use(`more-${index}`, 'context_tokens', '7', DECEMBER)
    }
    const id = await open(world)
    const keys: string[] = []
    const gateway: Gateway = {
      name: 'manual',
      charge: async (request) => {
        keys.push(request.idempotencyKey)
        if (keys.length === 1) await cancel(world, id)
        return manualGateway.charge(request)
      },
    }
    const collecting = { ...world.deps, ...world, announce: () => {}, stopping: () => false, chunkSize: 100, gateway }
    world.deps.collect = (tenantId, runId, progress) => collectPayments(collecting, progress, tenantId, runId)
    const paid = async () => (await world.invoices()).filter(({ state }) => state === 'paid').length
    const before = await paid()
    await expect(work(world, id)).resolves.toBe('cancelled')
    expect(await ofDecember(world)).toHaveLength(17)
    expect([keys.length, (await paid()) - before]).toEqual([8, 8])
    const attempts = () =>
      world.transact(world.tenantId, async (tx) => {
        const { rows } = await tx.query<{ state: string }>(
          'SELECT p.state FROM payments p JOIN invoices i ON i.id = p.invoice_id WHERE i.billing_run_id = $1 ORDER BY 1',
          [id],
        )
        return rows.map(({ state }) => state)
      })
    expect(await attempts()).toEqual([...Array(8).fill('created'), ...Array(8).fill('succeeded')])
    // What was never sent keeps nobody from voiding or crediting its invoice.
    for (let again = 0; again < 2; again += 1) await inTenant<void>(world, (tx) => withdrawAttempts(tx, id, world))
    expect(await attempts()).toEqual([...Array(8).fill('succeeded'), ...Array(8).fill('withdrawn')])
    expect(await historyOf(world, 'payment.withdrawn')).toHaveLength(8)
    await inTenant<void>(world, (tx) => collectCancelled(tx, id, 'key', world))
    await work(world, id)
    // One of 17 is of nothing: it is paid without a charge.
    expect([keys.length, new Set(keys).size, (await paid()) - before]).toEqual([16, 16, 17])
  })

  test('charges nothing of what it issued until somebody asks for that, and then each invoice once', async () => {
    tenants += 1
    const world = await secondMonth(database, `cancelled-${tenants}`)
    const before = world.charged.length
    const id = await open(world)
    await work(
      world,
      id,
      at('attempt', 1, () => cancel(world, id)),
    )
    expect(await ofDecember(world)).toEqual(DECEMBER_BILLED)
    expect(world.charged).toHaveLength(before)
    const ask = () => inTenant<void>(world, (tx) => collectCancelled(tx, id, 'key', world))
    await ask()
    expect(await inTenant(world, listUnfinishedRuns)).toEqual([id])
    await expect(work(world, id, at('charge', 1, dies))).rejects.toThrow('killed')
    await Promise.all([work(world, id), work(world, id)])
    await ask()
    expect(await inTenant(world, listUnfinishedRuns)).toEqual([])
    expect(new Set(world.charged.slice(before).map(({ idempotencyKey }) => idempotencyKey)).size).toBe(4)
    expect((await world.invoices()).map(({ state }) => state)).toEqual(Array(11).fill('paid'))
    expect(await historyOf(world, 'billing_run.collected')).toHaveLength(1)
  })

  test('and completed ones refuse what is not for them, and say what to do', async () => {
    tenants += 1
    const world = await secondMonth(database, `cancelled-${tenants}`)
    const id = await world.run()
    await expect(cancel(world, id)).rejects.toThrow('take back what it issued with credit notes')
    const ask = inTenant(world, (tx) => collectCancelled(tx, id, 'key', world))
    await expect(ask).rejects.toMatchObject({ code: 'illegal_state' })
    await expect(approve(world, id)).rejects.toMatchObject({ code: 'illegal_state' })
    await expect(cancel(world, 'no id')).rejects.toMatchObject({ code: 'not_found' })
  })
})
