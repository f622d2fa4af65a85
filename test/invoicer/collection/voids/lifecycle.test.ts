import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { changeCustomer } from '../../../../invoicer/agreements/customers/change-customer.ts'
import { changeInvoiceSettings } from '../../../../invoicer/agreements/invoice-settings/change-settings.ts'
import {
  INVOICE_CHANGES,
  INVOICE_STATES,
  INVOICE_TRANSITIONS,
  type InvoiceState,
} from '../../../../invoicer/billing/invoices/lifecycle.ts'
import { markPaid } from '../../../../invoicer/collection/payments/payments.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, type World } from '../../support/world.ts'
import { billed, change, everything, FEE, HOUR_MS, runAt, USE, voidWorld } from './void-world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const stateOf = (world: World, id: string) =>
  world.transact(
    world.tenantId,
    async (tx) => (await tx.query<{ state: string }>('SELECT state FROM invoices WHERE id = $1', [id])).rows[0]?.state,
  )

/** An invoice of November in a state that it came to as it does in the product. */
async function inState(state: InvoiceState): Promise<{ world: World; id: string }> {
  const isZero = state === 'paid' || state === 'suppressed'
  const { world } = await voidWorld(database, isZero ? [USE] : [FEE])
  const zeroInvoices = state === 'suppressed' ? 'suppress' : 'issue'
  await world.transact(world.tenantId, (tx) => changeInvoiceSettings(tx, { zeroInvoices, leastDue: {} }, world))
  await world.subscribe('a', { endMs: null })
  if (state === 'part') {
    await world.transact(world.tenantId, (tx) => changeCustomer(tx, 'a', { consolidate: true }, world))
  }
  await runAt(world, DECEMBER + 2 * HOUR_MS)
  const { rows } = await world.transact(world.tenantId, (tx) =>
    tx.query<{ id: string }>("SELECT id FROM invoices ORDER BY state = 'part' DESC"),
  )
  const id = rows[0]!.id
  if (state === 'void') await change(world, id, 'void')
  if (state === 'uncollectible') await change(world, id, 'write_off')
  expect(await stateOf(world, id)).toBe(state)
  return { world, id }
}

describe('the states of an invoice', () => {
  test.each(INVOICE_STATES.flatMap((state) => INVOICE_CHANGES.map((how) => ({ state, how }))))(
    '$state: $how leads where the table says, and else changes nothing',
    async ({ state, how }) => {
      const { world, id } = await inState(state)
      const before = await everything(world)
      const next = INVOICE_TRANSITIONS[state][how]
      if (how === 'pay') {
        await world.transact(world.tenantId, (tx) => markPaid(tx, [id], world.clock.nowMs))
        expect(await stateOf(world, id)).toBe(next ?? state)
      } else if (next === undefined) {
        await expect(change(world, id, how)).rejects.toMatchObject({ code: 'illegal_state' })
        expect(await everything(world)).toBe(before)
      } else {
        await change(world, id, how)
        expect(await stateOf(world, id)).toBe(next)
        expect(await everything(world)).not.toBe(before)
      }
    },
  )

  test('void is for good, whoever writes', async () => {
    const { world, id } = await inState('void')
    const revive = world.transact(world.tenantId, (tx) =>
      tx.query("UPDATE invoices SET state = 'finalised', voided_at = NULL WHERE id = $1", [id]),
    )
    await expect(revive).rejects.toThrow('void for good')
  })

  test('an invoice that is not there is not found', async () => {
    const { world } = await voidWorld(database)
    await expect(change(world, world.newId(), 'void')).rejects.toMatchObject({ code: 'not_found' })
    await expect(change(world, 'x', 'void')).rejects.toMatchObject({ code: 'not_found' })
  })

  test('the number of a void invoice stays, and the next one follows it (gapless)', async () => {
    const { world } = await voidWorld(database)
    await world.subscribe('a', { endMs: null })
    const { id } = await billed(world)
    await change(world, id, 'void')
    await world.subscribe('b')
    await runAt(world, DECEMBER + 3 * HOUR_MS)
    expect((await world.invoices()).map(({ number, state }) => `${number} ${state}`)).toEqual([
      'INV-000001 void',
      'INV-000002 finalised',
    ])
  })
})
