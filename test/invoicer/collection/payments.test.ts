import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Progress } from '../../../invoicer/billing/run/steps.ts'
import { collectPayments } from '../../../invoicer/collection/payments/collect-payments.ts'
import type { ChargeRequest, ChargeResult, Gateway } from '../../../invoicer/collection/payments/gateway.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { createWorld, type World } from '../support/world.ts'

let database: TestDatabase
let tenants = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const quiet: Progress = async () => undefined

/** One issued invoice of 20.00, unpaid, and a gateway that answers from a list. */
async function unpaidInvoice(answers: (ChargeResult | Error)[]) {
  tenants += 1
  const world = await createWorld(database, `payments-${tenants}`)
  await world.plan()
  await world.subscribe('a')
  world.deps.collect = async () => true
  const runId = await world.run()
  const asked: ChargeRequest[] = []
  const gateway: Gateway = {
    name: 'manual',
    charge: async (request) => {
      asked.push(request)
      const answer = answers.shift()
      if (answer === undefined || answer instanceof Error) throw answer ?? new Error('asked once too often')
      return answer
    },
  }
  const deps = { ...world.deps, gateway, stopping: () => false }
  const collect = () => collectPayments(deps, quiet, world.tenantId, runId)
  return { world, asked, collect, deps, runId }
}

const paymentsOf = (world: World) =>
  world.transact(
    world.tenantId,
    async (tx) => (await tx.query('SELECT state, reason, idempotency_key FROM payments ORDER BY id')).rows,
  )
const stateOf = async (world: World) => (await world.invoices()).map((invoice) => invoice.state)

describe('payments', () => {
  test('a time-out is unknown, and is asked again with the same key', async () => {
    const { world, asked, collect } = await unpaidInvoice([
      new Error('timed out'),
      { outcome: 'unknown', reason: 'still' },
      { outcome: 'succeeded', reference: 'x' },
    ])
    await collect()
    expect(await stateOf(world)).toEqual(['finalised'])
    expect(await paymentsOf(world)).toMatchObject([{ state: 'unknown', reason: 'timed out' }])
    await collect()
    expect(await stateOf(world)).toEqual(['finalised'])
    await collect()
    expect(await stateOf(world)).toEqual(['paid'])
    expect(await paymentsOf(world)).toMatchObject([{ state: 'succeeded', reason: null }])
    expect(new Set(asked.map((request) => request.idempotencyKey)).size).toBe(1)
    await collect()
    expect(asked).toHaveLength(3)
  })

  test('a decline is a result: the invoice stays open and is not tried again', async () => {
    const { world, asked, collect } = await unpaidInvoice([{ outcome: 'declined', reason: 'no funds' }])
    await collect()
    await collect()
    expect(asked).toHaveLength(1)
    expect(await stateOf(world)).toEqual(['finalised'])
    expect(await paymentsOf(world)).toMatchObject([{ state: 'declined', reason: 'no funds' }])
    expect(world.announced.at(-1)).toMatchObject({ event: 'payment_declined', userId: 'a', amount: '20.00' })
  })

  test('two collectors at once share one attempt, and pay the invoice once', async () => {
    const ok: ChargeResult = { outcome: 'succeeded', reference: 'x' }
    const { world, asked, collect } = await unpaidInvoice([ok, ok, ok, ok])
    await Promise.all([collect(), collect(), collect(), collect()])
    expect(await stateOf(world)).toEqual(['paid'])
    expect(await paymentsOf(world)).toHaveLength(1)
    expect(new Set(asked.map((request) => request.idempotencyKey)).size).toBe(1)
    expect(world.announced.filter(({ event }) => event === 'payment_succeeded')).toHaveLength(1)
  })

  test('the gateway is asked only after the attempt is committed', async () => {
    const { world, deps, runId } = await unpaidInvoice([])
    const seen: unknown[] = []
    deps.gateway.charge = async (request) => {
      seen.push(...(await paymentsOf(world)).map((row) => [row.state, row.idempotency_key === request.idempotencyKey]))
      return { outcome: 'succeeded', reference: 'x' }
    }
    await collectPayments(deps, quiet, world.tenantId, runId)
    expect(seen).toEqual([['created', true]])
  })

  test('the database refuses a second success, and a second attempt beside a live one', async () => {
    const { world, collect } = await unpaidInvoice([{ outcome: 'unknown', reason: 'x' }])
    await collect()
    const again = (state: string) =>
      world.transact(world.tenantId, (tx) =>
        tx.query(
          `INSERT INTO payments (tenant_id, id, invoice_id, gateway, idempotency_key, amount_minor, currency, state,
             created_at, settled_at)
           SELECT tenant_id, $1::uuid, invoice_id, gateway, $1::text, amount_minor, currency, $2::text, now(),
             CASE WHEN $2::text = 'succeeded' THEN now() END
           FROM payments LIMIT 1`,
          [world.newId(), state],
        ),
      )
    await expect(again('created')).rejects.toThrow('payments_one_live')
    await again('succeeded')
    await expect(again('succeeded')).rejects.toThrow('payments_one_success')
  })
})
