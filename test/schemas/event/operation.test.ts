import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeOperation, encodeOperation } from '../../../schemas/event/operation.ts'

const text = fc.string({ unit: 'binary' })
const data = fc.dictionary(text, fc.jsonValue()).map((object) => JSON.stringify(object))

test('an operation says what it was made of, whatever stands in its texts', () => {
  fc.assert(
    fc.property(
      text,
      text,
      text,
      text,
      text,
      data,
      fc.nat(),
      (operation, reason, by, type, subject, dataJson, timeMs) => {
        const said = { operation, reason, by }
        expect(decodeOperation(encodeOperation(said))).toEqual(said)
        const json = encodeOperation({ ...said, replacement: { type, subject, timeMs, dataJson } })
        const time = new Date(timeMs).toISOString()
        expect(decodeOperation(json)).toEqual({ ...said, event: { type, subject, time, dataJson } })
        expect(JSON.parse(json)).toEqual({ ...said, type, subject, time, data: JSON.parse(dataJson) })
      },
    ),
  )
})

test('the data of a replacement keeps every digit', () => {
  const dataJson = '{"tokens":123456789012345678901234567890.5}'
  const replacement = { type: 't', subject: 's', timeMs: 0, dataJson }
  const json = encodeOperation({ operation: 'o', reason: 'r', by: 'b', replacement })
  expect(decodeOperation(json).event?.dataJson).toBe(dataJson)
})
