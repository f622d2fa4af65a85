import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readMeterValue } from '../../../ingest/accept/meter-value.ts'
import type { JsonValue } from '../../../ingest/event-types/json.ts'
import { formatQuantity } from '../../../schemas/quantity.ts'

function read(value: JsonValue): string | undefined {
  const quantity = readMeterValue({ a: { b: value } }, ['a', 'b'])
  return typeof quantity === 'number' ? String(quantity) : quantity && formatQuantity(quantity)
}

describe('the value that a meter sums', () => {
  test.each([
    [5, '5'],
    [0, '0'],
    [0.5, '0.5'],
    [1e-7, '0.0000001'],
    [1e21, '1000000000000000000000'],
    ['5', '5'],
    ['007.50', '7.5'],
    ['99999999999999999999999999.999999999999', '99999999999999999999999999.999999999999'],
    ['-0', '0'],
    [null, '0'],
  ])('%j counts %s', (value, expected) => {
    expect(read(value)).toBe(expected)
  })

  test.each([
    -1,
    '-0.000000000001',
    -0,
    0.1 + 0.2,
    1e-13,
    1e26,
    '1e3',
    '',
    ' 5',
    '5 ',
    '0x10',
    'NaN',
    'Infinity',
    '1.0000000000001',
    '999999999999999999999999999',
    '٣',
    true,
    false,
    [],
    [5],
    {},
    { b: 5 },
  ])('%j is no quantity', (value) => {
    expect(read(value as JsonValue)).toBeUndefined()
  })

  test('what is absent counts 0: a missing key, a path through a text or a list, a name that every object has', () => {
    for (const [data, path] of [
      [{}, ['a']],
      [{ a: 'text' }, ['a', 'length']],
      [{ a: [1, 2] }, ['a', 'length']],
      [{ a: [7] }, ['a', '0']],
      [{ a: null }, ['a', 'b']],
      [{}, ['constructor', 'length']],
      [{}, ['__proto__']],
      [{}, ['toString']],
    ] satisfies [JsonValue, string[]][]) {
      expect(readMeterValue(data, path)).toBe(0)
    }
  })

  test('a quantity is read back from its text, whatever the path', () => {
    const keys = fc.array(fc.stringMatching(/^[a-z_]{1,8}$/), { minLength: 1, maxLength: 8 })
    const micro = fc.bigInt({ min: 0n, max: 10n ** 30n })
    fc.assert(
      fc.property(keys, micro, (path, value) => {
        const text = String(value).slice(0, 26)
        const data = path.reduceRight<JsonValue>((inner, key) => ({ [key]: inner }), text)
        expect(readMeterValue(data, path)?.toFixed()).toBe(String(BigInt(text)))
      }),
    )
  })
})
