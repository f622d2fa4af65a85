import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PendingItem } from '../../../../invoicer/billing/items/invoice-item.ts'
import { shareItems } from '../../../../invoicer/billing/items/with-items.ts'

/** As much of an item as sharing looks at. */
const item = (id: number, customerId: string, subscriptionId: string | null) =>
  ({ id: String(id), customerId, subscriptionId }) as PendingItem

const customer = fc.constantFrom('x', 'y', 'z')
const name = fc.nat(3)

test('each item goes once, in order, to the subscription it names or to the first of its customer that asks', () => {
  const given = fc.array(fc.tuple(customer, fc.option(name)), { maxLength: 20 })
  fc.assert(
    fc.property(given, fc.uniqueArray(fc.tuple(customer, name), { selector: String }), (wanted, asking) => {
      const items = wanted.map(([of, at], id) => item(id, of, at === null ? null : `${of}${at}`))
      const itemsOf = shareItems(items)
      for (const [place, [customerId, at]] of asking.entries()) {
        const id = `${customerId}${at}`
        const isFirst = asking.findIndex(([of]) => of === customerId) === place
        const own = items.filter((one) => one.customerId === customerId)
        const expected = own.filter(
          ({ subscriptionId }) => subscriptionId === id || (isFirst && subscriptionId === null),
        )
        expect(itemsOf({ id, customerId })).toEqual(expected)
      }
    }),
  )
})

/** It used to look at every item of the chunk for every subscription. */
test.each(['of one customer', 'of as many customers'])(
  'the items of 1,000 subscriptions %s are looked at a few times each',
  (which) => {
    let looks = 0
    const items = Array.from({ length: 2_000 }, (_, index) => {
      const of = item(index, which === 'of one customer' ? 'x' : `x${index % 1_000}`, `s${index % 1_000}`)
      return new Proxy(of, {
        get: (target, key) => {
          looks += 1
          return Reflect.get(target, key)
        },
      })
    })
    const itemsOf = shareItems(items)
    for (let index = 0; index < 1_000; index += 1) {
      const customerId = which === 'of one customer' ? 'x' : `x${index}`
      expect(itemsOf({ id: `s${index}`, customerId })).toHaveLength(2)
    }
    expect(looks).toBeLessThan(10 * items.length)
  },
)
