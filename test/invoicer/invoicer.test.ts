import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openRun } from '../../invoicer/billing/run/open-run.ts'
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts'
import { buildDoors } from './support/doors.ts'
import { memoryUsage } from './support/memory-usage.ts'
import { createWorld, NOVEMBER, startSealer, summary, type World } from './support/world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

async function until<T>(read: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  for (let tries = 0; tries < 300; tries += 1) {
    const value = await read()
    if (done(value)) return value
    await sleep(20)
  }
  throw new Error('it never happened')
}

/** A tenant with one subscription of November, used a million tokens; its invoicer, and a sealer. */
async function running(slug: string, cron: string | undefined) {
  const world = await createWorld(database, slug)
  await world.plan()
  await world.subscribe('customer-0')
  world.use('customer-0', 'context_tokens', '1000000', NOVEMBER)
  const sealer = startSealer(database, world.tenantId, memoryUsage(world.events))
  const doors = buildDoors(database, { usage: memoryUsage(world.events), cron })
  const close = async () => {
    await doors.invoicer.stop()
    await sealer.stop()
    await doors.app.close()
  }
  return { world, doors, close }
}
const paid = (world: World) => until(world.invoices, (invoices) => invoices.some((invoice) => invoice.state === 'paid'))

describe('the invoicer role', () => {
  test('runs on demand over HTTP, from 202 to a paid invoice that can be read', async () => {
    const { world, doors, close } = await running('on-demand', undefined)
    await doors.invoicer.start()
    const credit = { external_key: 'gift', amount: '2.50' }
    expect(await doors.call(world.tenantId, 'POST', '/customers/customer-0/credits', credit)).toMatchObject({
      status: 201,
    })
    const opened = await doors.call(world.tenantId, 'POST', '/billing-runs', { as_of: '2023-12-02T00:00:00Z' })
    expect(opened).toMatchObject({
      status: 202,
      body: { state: 'running', as_of: '2023-12-02T00:00:00.000Z', seal: null, error: null },
    })
    const run = await until(
      () => doors.call(world.tenantId, 'GET', `/billing-runs/${opened.body.id}`),
      ({ body }) => body.state === 'completed',
    )
    expect(run.body).toMatchObject({
      step: 'complete',
      seal: { event_count: 1, digest: '1' },
      subscriptions_due: 1,
      invoices_created: 1,
      parked: [],
    })
    const list = await doors.call(world.tenantId, 'GET', `/invoices?customer=customer-0&billing_run=${opened.body.id}`)
    const [invoice] = list.body.invoices as Record<string, unknown>[]
    expect(invoice).toMatchObject({
      number: 'INV-000001',
      state: 'paid',
      customer: { external_key: 'customer-0' },
      plan: 'llm',
      currency: 'USD',
      period_start: '2023-11-01T00:00:00.000Z',
      period_end: '2023-12-01T00:00:00.000Z',
      subtotal: '23.00',
      tax: '0.00',
      total: '23.00',
      credit: '2.50',
      amount_due: '20.50',
      billing_run_id: opened.body.id,
    })
    expect((invoice!.lines as unknown[]).slice(0, 2)).toMatchObject([
      {
        index: 0,
        charge: 'base',
        description: 'Base fee',
        plan: 'llm',
        plan_version: 1,
        plan_hash: invoice!.plan_hash,
        meter: null,
        quantity: null,
        events: null,
        amount: '20.00',
        seal_id: null,
      },
      {
        index: 1,
        charge: 'context',
        meter: 'context_tokens',
        quantity: '1000000',
        events: 1,
        amount: '3.00',
        breakdown: [{ type: 'per_unit', quantity: '1000000', unit_amount: '0.000003', amount: '3' }],
        digest: '1',
      },
    ])
    expect((await doors.call(world.tenantId, 'GET', `/invoices/${invoice!.id}`)).body).toEqual(invoice)
    const history = await doors.call(world.tenantId, 'GET', `/billing-events?invoice=${invoice!.id}`)
    expect((history.body.events as { event: string }[]).map(({ event }) => event)).toEqual([
      'credit.drawn',
      'invoice.finalised',
      'payment.created',
      'payment.succeeded',
      'invoice.paid',
    ])
    expect(await doors.metrics.metrics()).toContain('billing_revenue_total{currency="USD"} 23')
    expect(doors.logger.info).toHaveBeenCalledWith(
      expect.objectContaining({
        service: 'invoicer',
        event: 'invoice_finalised',
        user_id: 'customer-0',
        usage_type: 'context_tokens,generated_tokens',
        amount: '23.00',
      }),
      'invoice_finalised',
    )
    await close()
  })

  test('starts a run by its schedule where periods are due, and no further one', async () => {
    const { world, doors, close } = await running('cron', '* * * * * *')
    await doors.invoicer.start()
    await paid(world)
    await sleep(2100)
    const { rows } = await world.transact(world.tenantId, (tx) => tx.query('SELECT state FROM billing_runs'))
    expect(rows).toEqual([{ state: 'completed' }])
    await close()
  })

  test('continues at its start what an earlier process left', async () => {
    const { world, doors, close } = await running('left', undefined)
    await world.transact(world.tenantId, (tx) => openRun(tx, { asOfMs: null }, world))
    await doors.invoicer.start()
    expect(summary(await paid(world))).toEqual(['customer-0 2023-11-01: 20.00 + 3.00 + 0.00 = 23.00 paid'])
    await close()
  })

  test('writes what stopped a run into it, and continues it at the next start', async () => {
    const { world, doors, close } = await running('broken', undefined)
    const usage = { ...memoryUsage(world.events), quantities: () => Promise.reject(new Error('secret address')) }
    const broken = buildDoors(database, { usage })
    const { body } = await broken.call(world.tenantId, 'POST', '/billing-runs', {})
    const run = await until(
      () => broken.call(world.tenantId, 'GET', `/billing-runs/${body.id}`),
      (answer) => answer.body.state !== 'running',
    )
    expect(run.body).toMatchObject({ state: 'failed', error: 'An internal error stopped the run; the log has it.' })
    expect(broken.logger.error).toHaveBeenCalled()
    await broken.invoicer.stop()
    await doors.invoicer.start()
    const again = await until(
      () => doors.call(world.tenantId, 'GET', `/billing-runs/${body.id}`),
      (answer) => answer.body.state === 'completed',
    )
    expect(again.body).toMatchObject({ error: null, invoices_created: 1 })
    expect((await world.invoices()).map((invoice) => invoice.state)).toEqual(['paid'])
    await close()
    await broken.app.close()
  })

  test('stops while a run waits for its seal, and leaves the run to the next start', async () => {
    const world = await createWorld(database, 'waiting')
    await world.plan()
    await world.subscribe('customer-0')
    const doors = buildDoors(database, { usage: memoryUsage(world.events) })
    const { body } = await doors.call(world.tenantId, 'POST', '/billing-runs', {})
    const read = () => doors.call(world.tenantId, 'GET', `/billing-runs/${body.id}`)
    await until(read, (answer) => answer.body.step === 'await-seal')
    await doors.invoicer.stop()
    expect((await read()).body).toMatchObject({ state: 'running', step: 'await-seal' })
    await doors.app.close()
  })

  test('refuses a schedule that is none', async () => {
    const doors = buildDoors(database, { cron: 'every now and then' })
    await expect(doors.invoicer.start()).rejects.toThrow('not a cron expression')
    await doors.invoicer.stop()
  })
})
