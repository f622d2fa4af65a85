import { describe, expect, test } from 'vitest'
import { decisive, type GivenDiscount, inForce } from '../../../../invoicer/billing/discounts/in-force.ts'

const MINUTE = 60_000
type Change = Partial<Pick<GivenDiscount, 'startMs' | 'endMs' | 'cycles' | 'usedAtMs'>>
const given = (change: Change = {}): GivenDiscount => ({
  ...{ id: 'd', couponKey: 'c', couponName: 'C', charges: null, percent: '10', amountMinor: null, currency: null },
  ...{ startMs: 0, endMs: null, cycles: null, usedAtMs: [] },
  ...change,
})
const cycles = (discount: GivenDiscount, atMs: number, earlier: number[] = []) =>
  inForce([discount], atMs, earlier).map(({ cycle }) => cycle)

describe('a discount (issue 7: limited cycles)', () => {
  test('is on invoices that fall due behind its start, and not behind its end', () => {
    const discount = given({ startMs: 10 * MINUTE, endMs: 20 * MINUTE })
    expect([10, 11, 20, 21].map((minute) => cycles(discount, minute * MINUTE).length)).toEqual([0, 1, 1, 0])
    expect(cycles(discount, 15 * MINUTE, [12 * MINUTE])).toEqual([null])
  })

  test('counts the invoices that have it, those that will come before, and none twice', () => {
    const thrice = given({ cycles: 3, usedAtMs: [10, 20] })
    expect(cycles(thrice, 30)).toEqual([3])
    expect(cycles(thrice, 40, [30])).toEqual([])
    expect(cycles(thrice, 30, [20])).toEqual([3])
    // What is billed again stands where it stood.
    expect(cycles(thrice, 20)).toEqual([2])
    expect(cycles(thrice, 10)).toEqual([1])
  })

  test('given for a time that is past is not put before the invoices that have it, nor counted there', () => {
    const twice = given({ cycles: 2, usedAtMs: [20] })
    expect(cycles(twice, 10)).toEqual([])
    expect(cycles(twice, 30, [10])).toEqual([2])
    expect(cycles(given({ usedAtMs: [20] }), 10)).toEqual([null])
  })

  test('counts no invoice that falls due before it begins', () => {
    expect(cycles(given({ cycles: 1, startMs: 25 }), 30, [10, 20])).toEqual([1])
  })

  test('asks for coming invoices from its start on, until it is used up, and for none where they say nothing', () => {
    const asked: number[] = []
    let walked = 0
    const comingFrom = function* (fromMs: number) {
      asked.push(fromMs)
      for (let one = fromMs + 1; ; one += 1) {
        walked += 1
        yield one
      }
    }
    const far = 1_000_000
    const used = given({ cycles: 2, usedAtMs: [1, 2] })
    const over = given({ cycles: 2, endMs: 50 })
    expect(decisive([given(), used, over, given({ cycles: 2, startMs: far })], far, comingFrom)).toEqual([])
    expect([asked, walked]).toEqual([[], 0])
    const open = given({ cycles: 3, startMs: 500, usedAtMs: [501] })
    const earlier = decisive([used, open], far, comingFrom)
    expect([asked, walked, earlier]).toEqual([[500], 3, [501, 502, 503]])
    expect(inForce([used, open], far, earlier)).toEqual([])
  })
})
