import fc from 'fast-check'
import { expect, test } from 'vitest'
import { requestOf } from '../../../ingest/quota/quota-request.ts'

const counter = { tenant: 1, subject: 'customer', meter: 'tokens', startMs: 0, endMs: 1 }

test('what is drawn and the limit reach the script digit for digit: a number below 10^15, else a text', () => {
  const micro = fc.oneof(
    fc.bigInt({ min: 0n, max: 10n ** 40n }),
    fc.bigInt({ min: 0n, max: 2n * 10n ** 9n }).map((whole) => whole * 1_000_000n),
    fc.bigInt({ min: -3n, max: 3n }).map((near) => 10n ** 15n + near),
    fc.constantFrom(0n, 1n, 999_999n, 1_000_000n, 1_000_001n, 999_999_999_000_001n),
  )
  const json = (value: bigint) => (value < 10n ** 15n ? `${value}` : `"${value}"`)
  fc.assert(
    fc.property(micro, micro, micro, (first, second, limitMicro) => {
      const items = [first, second].map((drawn, place) => ({
        identity: `1\ns\n${place}`,
        draws: [{ counter, micro: drawn, limitMicro }],
      }))
      const [head = '', , draws] = requestOf(items, 0).args
      expect(draws).toBe(`[[1,${json(first)}],[1,${json(second)}]]`)
      expect(head.startsWith(`[[${json(first + second)}],[1,${json(limitMicro)}],`)).toBe(true)
    }),
  )
})

test('a draw below zero is a mistake of the caller', () => {
  const item = { identity: 'i', draws: [{ counter, micro: -1n, limitMicro: 1n }] }
  expect(() => requestOf([item], 0)).toThrow(RangeError)
})
