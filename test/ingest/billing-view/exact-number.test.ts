import fc from 'fast-check'
import { expect, test } from 'vitest'
import { exactNumber } from '../../../ingest/billing-view/exact-number.ts'
import { formatMicro } from '../../../ingest/quota/limit.ts'
import { formatQuantity, quantityFromJson } from '../../../schemas/quantity.ts'

/** HC-1: `quota_remaining` is a number, and never another one than what remains. */
test.each([
  ['1440.5', 1440.5],
  ['0', 0],
  ['0.000001', 0.000001],
  ['0.1', 0.1],
  ['999999999999999', 999999999999999],
  ['9007199254740993', '9007199254740993'],
  ['0.1234567890123456', '0.1234567890123456'],
  ['10000000000000000000000000', 1e25],
  ['12345678901234567890123456', '12345678901234567890123456'],
])('%s is %s', (text, told) => {
  expect(exactNumber(text)).toBe(told)
})

test('whatever remains: what a reader of the JSON gets is exactly that', () => {
  const micro = fc.oneof(fc.bigInt(0n, 10n ** 10n), fc.bigInt(0n, 10n ** 17n), fc.bigInt(0n, 10n ** 31n))
  fc.assert(
    fc.property(micro, (one) => {
      const text = formatMicro(one)
      const told = JSON.parse(JSON.stringify(exactNumber(text))) as number | string
      expect(formatQuantity(quantityFromJson(told))).toBe(text)
      // A text only where it has to be.
      const digits = text.replace('.', '').replace(/^0+|0+$/g, '').length
      expect(typeof told).toBe(digits <= 15 ? 'number' : 'string')
    }),
  )
})
