import fc from 'fast-check'
import { expect, test } from 'vitest'
import { allocateCredit } from '../../../../invoicer/collection/credits/allocate-credit.ts'

const invoice = (id: string, customerId: string, totalMinor: bigint, currency = 'USD') => {
  return { id, customerId, subscriptionId: 's', currency, totalMinor, lines: [] }
}
const credit = (grantId: string, customerId: string, remainingMinor: bigint, currency = 'USD') => {
  return { grantId, customerId, currency, remainingMinor, scope: null }
}

test('grants pay in their order, each customer’s own invoices, in their own currency', () => {
  const draws = allocateCredit(
    [
      invoice('i1', 'ann', 700n),
      invoice('i2', 'bob', 50n),
      invoice('i3', 'ann', 500n),
      invoice('i4', 'eve', 9n, 'EUR'),
    ],
    [credit('a1', 'ann', 300n), credit('a2', 'ann', 600n), credit('b1', 'bob', 80n), credit('e1', 'eve', 80n)],
  )
  expect(draws).toEqual([
    { grantId: 'a1', invoiceId: 'i1', amountMinor: 300n },
    { grantId: 'a2', invoiceId: 'i1', amountMinor: 400n },
    { grantId: 'b1', invoiceId: 'i2', amountMinor: 50n },
    { grantId: 'a2', invoiceId: 'i3', amountMinor: 200n },
  ])
})

test('no grant pays more than it has, no invoice is paid more than it owes, and no credit lies idle beside a debt', () => {
  const amount = fc.bigInt({ min: 0n, max: 1_000n })
  const who = fc.constantFrom('ann', 'bob')
  fc.assert(
    fc.property(
      fc.array(fc.tuple(who, amount), { maxLength: 6 }),
      fc.array(fc.tuple(who, amount), { maxLength: 6 }),
      (owed, had) => {
        const invoices = owed.map(([customer, total], place) => invoice(`i${place}`, customer, total))
        const open = had.map(([customer, left], place) => credit(`g${place}`, customer, left))
        const draws = allocateCredit(invoices, open)
        const sum = (of: (draw: (typeof draws)[number]) => boolean) =>
          draws.filter(of).reduce((total, { amountMinor }) => total + amountMinor, 0n)
        for (const { amountMinor } of draws) expect(amountMinor).toBeGreaterThan(0n)
        for (const { id, totalMinor } of invoices)
          expect(sum(({ invoiceId }) => invoiceId === id)).toBeLessThanOrEqual(totalMinor)
        for (const { grantId, remainingMinor } of open)
          expect(sum((draw) => draw.grantId === grantId)).toBeLessThanOrEqual(remainingMinor)
        for (const customer of ['ann', 'bob']) {
          const total = (rows: [string, bigint][]) =>
            rows.reduce((all, [one, each]) => (one === customer ? all + each : all), 0n)
          const ofCustomer = new Set(invoices.filter(({ customerId }) => customerId === customer).map(({ id }) => id))
          const [owes, has] = [total(owed), total(had)]
          expect(sum(({ invoiceId }) => ofCustomer.has(invoiceId))).toBe([owes, has].sort((x, y) => Number(x - y))[0])
        }
      },
    ),
  )
})
