import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asciiOf } from '../../../schemas/event/ascii.ts'

const anyText = fc.oneof(
  fc.string({ maxLength: 300 }),
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
)

test('a short text of ASCII is its own bytes, and no other text has any, whatever was asked for before', () => {
  fc.assert(
    fc.property(fc.array(anyText, { maxLength: 5 }), (texts) => {
      for (const text of [...texts, ...texts.toReversed()]) {
        const isShortAscii = text.length <= 256 && [...text].every((character) => character <= '\u007f')
        const bytes = asciiOf(text)?.subarray(0, text.length)
        expect(bytes && Buffer.from(bytes).toString('latin1')).toBe(isShortAscii ? text : undefined)
      }
    }),
  )
})
