import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { rateCharge, rateExact } from '../../../../invoicer/billing/rating/rate.ts'
import { formatMoney, roundToMinor } from '../../../../schemas/money.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'

const perUnit = (unit_amount: string): Price => ({ model: 'per_unit', unit_amount })
const tokens: Price = {
  model: 'graduated',
  tiers: [
    { up_to: '100000', unit_amount: '0.000015' },
    { up_to: null, unit_amount: '0.000012' },
  ],
}

describe('one charge makes one line, rounded once (billing-rules, Numbers)', () => {
  test.each<[string, Price, string, string, string]>([
    ['R12: 30 at 0.05 cent', perUnit('0.0005'), '30', 'USD', '0.02'],
    ['R10: half a cent goes up', perUnit('10.275'), '1', 'USD', '10.28'],
    ['R10: yen have no decimals', perUnit('1023.45'), '1', 'JPY', '1023'],
    ['R10: half a yen goes up', { model: 'flat', amount: '1023.5' }, '1', 'JPY', '1024'],
    ['R10: less than half a cent is nothing', perUnit('0.004'), '1', 'USD', '0.00'],
    ['R10: half a cent is a cent', perUnit('0.005'), '1', 'USD', '0.01'],
    ['the demo’s base fee', { model: 'flat', amount: '20.00' }, '1', 'USD', '20.00'],
    ['the demo’s context tokens', perUnit('0.000003'), '2182292', 'USD', '6.55'],
    ['the demo’s generated tokens', tokens, '415760', 'USD', '5.29'],
    ['dinars have three decimals', perUnit('0.0005'), '1', 'KWD', '0.001'],
  ])('%s', (_name, price, quantity, currency, amount) => {
    expect(formatMoney(rateCharge(price, parseQuantity(quantity), currency).amountMinor, currency)).toBe(amount)
  })

  test('the demo’s three lines are 31.84 together', () => {
    const lines = [
      rateCharge({ model: 'flat', amount: '20.00' }, parseQuantity('1'), 'USD'),
      rateCharge(perUnit('0.000003'), parseQuantity('2182292'), 'USD'),
      rateCharge(tokens, parseQuantity('415760'), 'USD'),
    ]
    expect(
      formatMoney(
        lines.reduce((sum, line) => sum + line.amountMinor, 0n),
        'USD',
      ),
    ).toBe('31.84')
  })

  test('tiers are not rounded one by one: 0.004 and 0.004 make a cent, not nothing', () => {
    const price: Price = {
      model: 'graduated',
      tiers: [
        { up_to: '1', unit_amount: '0.004' },
        { up_to: null, unit_amount: '0.004' },
      ],
    }
    const { amountMinor, breakdown } = rateCharge(price, parseQuantity('2'), 'USD')
    expect(amountMinor).toBe(1n)
    expect(breakdown.map((entry) => entry.amount)).toEqual(['0.004', '0.004'])
  })

  test('the amount is the rounded exact amount, whatever the breakdown says', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 10_000_000 }),
        fc.constantFrom('USD', 'JPY', 'KWD'),
        (quantity, currency) => {
          const exact = rateExact(tokens, parseQuantity(String(quantity))).exact
          const line = rateCharge(tokens, parseQuantity(String(quantity)), currency)
          expect(line.amountMinor).toBe(roundToMinor(exact, currency))
        },
      ),
    )
  })
})
