import { afterAll, beforeAll, expect, test } from 'vitest'
import { changeInvoice } from '../../../../invoicer/collection/voids/change-invoice.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'
import { DAY_MS, give, grants, HOUR_MS, open, renew, rollover, uses } from '../credits/renewing.ts'
import { behind } from '../credits/watched-credit.ts'
import { balanceOf } from './void-world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

test('what was drawn of credit that rolls over while the invoice is voided goes to the balance, and rolls over once', async () => {
  const world = await open(database, 'returned')
  const expiresAtMs = DECEMBER + DAY_MS
  await give(world, 'g', { amount: '50.00', expiresAtMs, rollover: rollover({ expires_after_days: 30 }) })
  world.use('a', 'context_tokens', '3000', NOVEMBER)
  world.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await world.run()
  const [invoice] = await world.invoices()
  expect(invoice).toMatchObject({ creditMinor: 3_000n, amountDueMinor: 0n })
  // Its clock is a little behind that of whoever renews.
  const voiding = { ...world, now: () => expiresAtMs - 1 }
  const transact = behind(world, /UPDATE invoices/, () => renew(world, expiresAtMs))
  const change = { invoiceId: invoice!.id, change: 'void', reason: 'Wrong', idempotencyKey: 'k' } as const
  await transact(world.tenantId, (tx) => changeInvoice(tx, change, voiding))
  expect(await grants(world)).toEqual([
    'null 2023-11-01–2023-12-02: 0.00 of 50.00',
    'rolled 2023-12-02–2024-01-01: 20.00 of 20.00',
  ])
  expect(await uses(world)).toEqual(['drawn 30.00', 'rolled 20.00'])
  expect(await balanceOf(world, 'a')).toBe('30.00')
  expect(await renew(world)).toBe(0)
})
