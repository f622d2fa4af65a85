import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeLogValue, encodeLogValue } from '../../../schemas/event/embedded-log.ts'

test('a value of the embedded log keeps its append time and its bytes', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.uint8Array(), (knownAtMs, bytes) => {
      const record = Buffer.from(bytes)
      expect(decodeLogValue(encodeLogValue(knownAtMs, record))).toEqual({ knownAtMs, record })
    }),
  )
})

test('the record is copied: what the caller does with its buffer later changes nothing', () => {
  const record = Buffer.from('abc')
  const value = encodeLogValue(1, record)
  record.fill(0)
  expect(decodeLogValue(value).record.toString()).toBe('abc')
})
