import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readSchema } from '../../../../ingest/event-types/read-schema.ts'
import { exactNumber, looksLikeNumber, withNumbers } from '../../../../ops/cli/import/numbers.ts'
import { numberText } from '../../../../ops/cli/import/row.ts'

describe('exactNumber', () => {
  test.each([
    ['0', 0],
    ['0.10', 0.1],
    ['1e3', 1000],
    ['007', 7],
    ['-12.50', -12.5],
    ['9007199254740991', 9007199254740991],
    ['1e21', 1e21],
    ['100000000000000000000000', 1e23],
  ])('%s is a number', (text, value) => expect(exactNumber(text)).toBe(value))

  test.each(['9007199254740993', '0.1234567890123456789', '1e400', '-0', '0.30000000000000000001'])(
    '%s must stay a text',
    (text) => expect(exactNumber(text)).toBeUndefined(),
  )

  /** Money-grade: what is sent as a number is the decimal that the file says. */
  test('never changes a value', () => {
    const decimal = fc.tuple(fc.bigInt({ min: 0n, max: 10n ** 30n }), fc.integer({ min: 0, max: 20 }))
    fc.assert(
      fc.property(decimal, ([units, scale]) => {
        const digits = String(units).padStart(scale + 1, '0')
        const text = scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`
        const value = exactNumber(text)
        // Its shortest decimal, written with as many places, is the text again.
        if (value !== undefined && !String(value).includes('e')) {
          const [whole = '', fraction = ''] = String(value).split('.')
          expect(BigInt(whole + fraction.padEnd(scale, '0'))).toBe(units)
        }
      }),
    )
  })

  test('knows every double by its own text', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        if (Object.is(value, -0)) return
        expect(exactNumber(String(value))).toBe(value)
      }),
    )
  })
})

test.each(['', '+5', '1,234', '0x1f', '.5', '5.', 'NaN', '1 2'])('%j is no number', (text) => {
  expect(looksLikeNumber(text)).toBe(false)
})

describe('data as it is sent', () => {
  const decimal = { type: 'bytes', logicalType: 'decimal', precision: 20, scale: 9 }
  const schema = readSchema({
    type: 'record',
    name: 'R',
    fields: [
      { name: 'cost', type: ['null', decimal] },
      { name: 'tokens', type: 'long' },
      {
        name: 'parts',
        type: { type: 'array', items: { type: 'record', name: 'P', fields: [{ name: 'c', type: decimal }] } },
      },
      { name: 'rates', type: { type: 'map', values: decimal } },
    ],
  })
  const n = numberText

  test('a decimal goes as the text of the file, wherever it stands; other numbers as numbers', () => {
    const data = { cost: n('0.10'), tokens: n('12'), parts: [{ c: n('1.50') }], rates: { a: n('2') }, more: n('3') }
    expect(withNumbers(data, schema)).toEqual({
      ...{ cost: '0.10', tokens: 12, parts: [{ c: '1.50' }], rates: { a: '2' }, more: 3 },
    })
  })

  test('what no JSON number says goes as text, also where nobody asked for it', () => {
    expect(withNumbers({ tokens: n('9007199254740993'), x: [n('1.10'), null, 'a', true] }, undefined)).toEqual({
      tokens: '9007199254740993',
      x: [1.1, null, 'a', true],
    })
  })
})
