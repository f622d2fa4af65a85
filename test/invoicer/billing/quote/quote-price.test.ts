import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { quoteLine } from '../../../../invoicer/billing/quote/quote.ts'
import { PRICE_OF_MODEL } from '../../../../invoicer/billing/rating/price.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { runs } from '../../../support/runs.ts'
import { decimal, greater, rounded, sum } from './second/decimal.ts'
import { type PriceCase, slowQuote } from './second/price.ts'
import { PRICES, priceCases } from './second/price-cases.ts'

type Answer = { amount: string; breakdown: { type: string; amount: string }[] }
/** Of any size. */
const minorOf = (amount: string) => BigInt(amount.replace('.', ''))
const quoted = (given: object) => JSON.parse(quoteLine(JSON.stringify(given))) as Answer

test('every model is generated', () => {
  expect(Object.keys(PRICES)).toEqual(Object.keys(PRICE_OF_MODEL))
})

describe.each(Object.entries(PRICES))('any case of model %s', (_model, price) => {
  test('is priced as by the second implementation, and its breakdown sums to what is due', () => {
    fc.assert(
      fc.property(priceCases(price), (given) => {
        const answer = quoted(given)
        const { dueMinor, trueUpMinor } = slowQuote(given)
        expect(answer).toHaveProperty('amount')
        expect(minorOf(answer.amount)).toBe(dueMinor)
        const trueUp = answer.breakdown.find((entry) => entry.type === 'true_up')
        expect(minorOf(trueUp?.amount ?? '0')).toBe(trueUpMinor)
        const total = sum(answer.breakdown.map((entry) => decimal(entry.amount)))
        expect(rounded(total, 40)).toBe(rounded(decimal(answer.amount), 40))
      }),
      { numRuns: runs(1_000) },
    )
  })
})

describe('billing by difference (billing-rules, Tiers: progressive invoices)', () => {
  test.each(Object.entries(PRICES))(
    'of a %s price in any cuts sums to the whole, true-ups only at the end',
    (_model, price) => {
      const given = priceCases(
        price.map(({ minimum_amount: least, ...rest }) => ({ ...rest, minimum_amount: least ?? '90' })),
      )
      fc.assert(
        fc.property(
          given,
          fc.array(fc.nat(6), { maxLength: 3 }),
          ({ already_billed: _billed, final: _final, ...whole }, cuts) => {
            const { currency, quantity = '0', events = [{ value: quantity }] } = whole
            const known = [...cuts.map((cut) => Math.min(cut, events.length)).sort((a, b) => a - b), events.length]
            let billedMinor = 0n
            for (const [step, count] of known.entries()) {
              const final = step === known.length - 1
              const already_billed = { amount: formatMoney(billedMinor, currency) }
              const { quantity: _quantity, ...rest } = whole
              const part = quoted({ ...rest, events: events.slice(0, count), already_billed, final })
              if (!final) expect(part.breakdown.map((entry) => entry.type)).not.toContain('true_up')
              billedMinor += minorOf(part.amount)
            }
            expect(formatMoney(billedMinor, currency)).toBe(quoted(whole).amount)
          },
        ),
        { numRuns: runs(60) },
      )
    },
  )

  test('with everything billed before, nothing is due', () => {
    const price = { model: 'per_unit', unit_amount: '10', minimum_amount: '100' }
    const all = { kind: 'price', currency: 'USD', price, quantity: '3' }
    expect(quoted(all).amount).toBe('100.00')
    expect(quoted({ ...all, already_billed: { quantity: '3', amount: '100' } }).amount).toBe('0.00')
    expect(quoted({ ...all, already_billed: { quantity: '3', amount: '30' }, final: false }).amount).toBe('0.00')
  })
})

describe('what holds for every case', () => {
  const models = (...names: string[]) => fc.oneof(...names.map((name) => PRICES[name]!))
  const noModifiers = ({ price }: PriceCase) =>
    Object.fromEntries(
      Object.entries(price).filter(([name]) => !/^(included|minimum|maximum|discount|commitment|overage)_/.test(name)),
    )
  const minor = (given: object) => minorOf(quoted({ ...given, currency: 'CLF' }).amount)

  test('more costs no less, except where all units move to another tier', () => {
    const monotone = models('flat', 'per_unit', 'graduated', 'package', 'graduated_percentage', 'dynamic')
    fc.assert(
      fc.property(priceCases(monotone), fc.nat(200), fc.nat(200), ({ price }, a, b) => {
        const [less, more] = [Math.min(a, b), Math.max(a, b)].map((half) =>
          minor({ kind: 'price', price, quantity: half / 2 }),
        )
        expect(less! <= more!).toBe(true)
      }),
      { numRuns: runs(400) },
    )
  })

  test('two parts cost what the whole costs, where the model has no tiers, packages or fixed parts', () => {
    fc.assert(
      fc.property(priceCases(models('per_unit', 'dynamic', 'matrix')), (given) => {
        const events = given.events ?? [{ value: given.quantity ?? '0' }]
        const price = noModifiers(given)
        const parts = events.map(
          (event) => quoted({ kind: 'price', currency: 'CLF', price, events: [event] }).breakdown,
        )
        const exact = (entries: Answer['breakdown']) =>
          sum(entries.filter((entry) => entry.type !== 'rounding').map((entry) => decimal(entry.amount)))
        const whole = quoted({ kind: 'price', currency: 'CLF', price, events }).breakdown
        expect(rounded(sum(parts.map(exact)), 40)).toBe(rounded(exact(whole), 40))
      }),
      { numRuns: runs(300) },
    )
  })

  test('the line stays within its maximum, and with the true-up reaches its minimum', () => {
    const any = models(...Object.keys(PRICES)).filter(({ maximum_amount: most }) => most !== undefined)
    fc.assert(
      fc.property(priceCases(any), ({ already_billed: _billed, final: _final, ...given }) => {
        const { minimum_amount: minimum = '0', commitment_amount: commitment = '0', maximum_amount } = given.price
        const [least, most] = [
          greater(decimal(minimum as string), decimal(commitment as string)),
          decimal(maximum_amount as string),
        ].map((amount) => rounded(amount, 4))
        const line = minor({ ...given, final: false })
        const due = minor(given)
        expect(line <= most!).toBe(true)
        // Without either a line below 0 stays there.
        const isOwed = 'minimum_amount' in given.price || 'commitment_amount' in given.price
        expect(due).toBe(isOwed && least! > line ? least : line)
      }),
      { numRuns: runs(400) },
    )
  })
})
