import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Carried, type Owing, settleDue } from '../../../../invoicer/collection/balance/settle-due.ts'

const owing = (id: string, owedMinor: bigint, customerId = 'a', currency = 'USD'): Owing => {
  return { id, customerId, legalEntityId: null, currency, owedMinor }
}
const carried = (fromInvoiceId: string, amountMinor: bigint, customerId = 'a', currency = 'USD'): Carried => {
  return { fromInvoiceId, customerId, legalEntityId: null, currency, amountMinor }
}
const NOTHING = { balances: new Map<string, bigint>(), carried: [], leastDue: new Map<string, bigint>() }
const least = { ...NOTHING, leastDue: new Map([['USD', 500n]]) }

describe('what is too little to be paid', () => {
  test('waits for the next invoice, and is due with it once it is enough', () => {
    const { applied, taken } = settleDue([owing('1', 200n), owing('2', 100n), owing('3', 400n)], least)
    expect([...applied.values()]).toEqual([
      { balanceMinor: 0n, carriedInMinor: 0n, carriedOutMinor: 200n },
      { balanceMinor: 0n, carriedInMinor: 200n, carriedOutMinor: 300n },
      { balanceMinor: 0n, carriedInMinor: 300n, carriedOutMinor: 0n },
    ])
    expect(taken).toEqual([
      { fromInvoiceId: '1', toInvoiceId: '2' },
      { fromInvoiceId: '2', toInvoiceId: '3' },
    ])
  })

  test('what reaches the least amount exactly is due, and nothing of an invoice of nothing waits', () => {
    const { applied } = settleDue([owing('1', 500n), owing('2', 0n, 'b')], least)
    expect([...applied.values()].map(({ carriedOutMinor }) => carriedOutMinor)).toEqual([0n, 0n])
  })

  test('is of a customer and a currency', () => {
    const waiting = [carried('0', 300n), carried('x', 100n, 'b'), carried('y', 1n, 'a', 'EUR')]
    const { applied, taken } = settleDue([owing('1', 200n)], { ...least, carried: waiting })
    expect(applied.get('1')).toEqual({ balanceMinor: 0n, carriedInMinor: 300n, carriedOutMinor: 0n })
    expect(taken).toEqual([{ fromInvoiceId: '0', toInvoiceId: '1' }])
  })

  test('is owed to one legal entity, and waits for the next invoice of that', () => {
    const ofEntity = (one: Owing): Owing => ({ ...one, legalEntityId: 'e' })
    const { applied, taken } = settleDue([owing('1', 100n), ofEntity(owing('2', 200n)), owing('3', 900n)], least)
    expect([...applied.values()].map(({ carriedInMinor }) => carriedInMinor)).toEqual([0n, 0n, 100n])
    expect(taken).toEqual([{ fromInvoiceId: '1', toInvoiceId: '3' }])
  })

  test('is paid from the balance before anything of it waits', () => {
    const balances = new Map([['a USD', 350n]])
    const { applied } = settleDue([owing('1', 200n)], { ...least, balances, carried: [carried('0', 300n)] })
    expect(applied.get('1')).toEqual({ balanceMinor: 350n, carriedInMinor: 300n, carriedOutMinor: 150n })
  })

  test('is what a negative total makes up for first; the rest becomes balance', () => {
    const { applied } = settleDue([owing('1', -500n)], { ...least, carried: [carried('0', 300n)] })
    expect(applied.get('1')).toEqual({ balanceMinor: -200n, carriedInMinor: 300n, carriedOutMinor: 0n })
  })
})

describe('of any invoices, balances and least amounts', () => {
  test('nothing is lost: owed + waiting before = paid from balances + due + waiting behind', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.bigInt(-2_000n, 2_000n)), { maxLength: 12 }),
        fc.record({ a: fc.bigInt(0n, 1_500n), b: fc.bigInt(0n, 1_500n) }),
        fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.bigInt(1n, 900n)), { maxLength: 4 }),
        fc.bigInt(0n, 1_000n),
        (owed, has, before, leastMinor) => {
          const invoices = owed.map(([customerId, owedMinor], index) => owing(`${index}`, owedMinor, customerId))
          const waiting = before.map(([customerId, minor], index) => carried(`before ${index}`, minor, customerId))
          const balances = new Map([
            ['a USD', has.a],
            ['b USD', has.b],
          ])
          const leastDue = new Map([['USD', leastMinor]])
          const { applied, taken } = settleDue(invoices, { balances, carried: waiting, leastDue })
          for (const customer of ['a', 'b']) {
            let [balance, due, waits] = [customer === 'a' ? has.a : has.b, 0n, 0n]
            const start = waiting.filter(({ customerId }) => customerId === customer)
            waits = start.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
            let total = waits
            for (const { id, customerId, owedMinor } of invoices) {
              if (customerId !== customer) continue
              const { balanceMinor, carriedInMinor, carriedOutMinor } = applied.get(id)!
              expect(carriedInMinor).toBe(waits)
              const dueMinor = owedMinor - balanceMinor + carriedInMinor - carriedOutMinor
              expect(dueMinor === 0n || dueMinor >= leastMinor).toBe(true)
              expect(carriedOutMinor === 0n || (dueMinor === 0n && carriedOutMinor < leastMinor)).toBe(true)
              balance -= balanceMinor
              expect(balance >= 0n).toBe(true)
              waits = carriedOutMinor
              due += dueMinor
              total += owedMinor
            }
            expect(total).toBe((customer === 'a' ? has.a : has.b) - balance + due + waits)
          }
          // Whatever waited is had once, and by a later invoice.
          expect(new Set(taken.map(({ fromInvoiceId }) => fromInvoiceId)).size).toBe(taken.length)
        },
      ),
    )
  })
})
