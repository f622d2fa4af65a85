import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { evaluatorOf, faultyPath, numberAt } from '../../../schemas/meter/evaluate.ts'
import { parseValue } from '../../../schemas/meter/expression.ts'
import type { ValueForm } from '../../../schemas/meter/polynomial.ts'
import { formatQuantity } from '../../../schemas/quantity.ts'
import { printTree, tree, valueOfTree } from './arbitrary-expression.ts'

function read(value: unknown): string | undefined {
  const quantity = numberAt({ a: { b: value } }, ['a', 'b'])
  return typeof quantity === 'number' ? String(quantity) : quantity && formatQuantity(quantity)
}

function evaluate(text: string, data: unknown): string | undefined {
  const value = evaluatorOf(parseValue(text))(data)
  return typeof value === 'number' ? String(value) : value && formatQuantity(value)
}

describe('the property that a meter sums', () => {
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
    expect(read(value)).toBeUndefined()
  })

  test.each([
    [-1, '-1'],
    ['-0.000000000001', '-0.000000000001'],
    [-0.5, '-0.5'],
    [-1e15, '-1000000000000000'],
    ['-99999999999999999999999999.999999999999', '-99999999999999999999999999.999999999999'],
    ['-0', '0'],
    [5, '5'],
    [-0, undefined],
    [-1e26, undefined],
    ['-1e3', undefined],
    ['--1', undefined],
    ['+1', undefined],
  ])('%j counts %s where a value may be negative', (value, expected) => {
    const quantity = numberAt({ a: { b: value } }, ['a', 'b'], true)
    expect(quantity?.toFixed().replace(/(\.\d*?)0+$/, '$1')).toBe(expected)
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
    ] satisfies [unknown, string[]][]) {
      expect(numberAt(data, path)).toBe(0)
    }
  })

  test('a quantity is read back from its text, whatever the path', () => {
    const keys = fc.array(fc.stringMatching(/^[a-z_]{1,8}$/), { minLength: 1, maxLength: 8 })
    const micro = fc.bigInt({ min: 0n, max: 10n ** 30n })
    fc.assert(
      fc.property(keys, micro, (path, value) => {
        const text = String(value).slice(0, 26)
        const data = path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), text)
        expect(numberAt(data, path)?.toFixed()).toBe(String(BigInt(text)))
      }),
    )
  })
})

describe('an expression', () => {
  test.each([
    ['a + 2 * b.c', { a: 1, b: { c: '0.5' } }, '2'],
    ['a / 3', { a: 10 }, '3.333333333333'],
    ['2 * a / 3', { a: 1 }, '0.666666666666'],
    ['a / b', { a: 5, b: 0 }, '0'],
    ['a / b', { a: 5 }, '0'],
    ['a - b', { a: 5, b: 5 }, '0'],
    ['a * b', { a: '0.000001', b: '0.0000009' }, '0'],
    ['a * b * c', { a: '0.0000001', b: '0.0000001', c: '1000000000' }, '0'],
    ['a + b', {}, '0'],
    ['a + 1.5', { a: null }, '1.5'],
    ['(a - b) / 10000000000000', { a: 1, b: 2 }, '0'],
  ])('%s of %j is %s: products and quotients are cut to 12 places, absent is 0', (text, data, expected) => {
    expect(evaluate(text, data)).toBe(expected)
  })

  test.each([
    ['a - b', { a: 1, b: 2 }, []],
    ['a + b', { a: 1, b: 'much' }, ['b']],
    ['a / b', { a: 1, b: -1 }, ['b']],
    ['a * b', { a: '99999999999999999999999999', b: 2 }, []],
    ['a * a * a', { a: '99999999999999999999999999' }, []],
    ['a / b', { a: '99999999999999999999999999', b: '0.1' }, []],
  ])('%s of %j is no quantity, and the property at fault is named if it is one', (text, data, path) => {
    expect(evaluate(text, data)).toBeUndefined()
    expect(faultyPath(parseValue(text), data) ?? []).toEqual(path)
  })

  test.each([
    ['a - b', { a: 1, b: 2 }, '-1'],
    ['a / b', { a: 1, b: -3 }, '-0.333333333333'],
    ['a / b', { a: -6, b: -3 }, '2'],
    ['a * b', { a: -3, b: 0 }, '0'],
    ['a / b', { a: 0, b: -3 }, '0'],
    ['a / b', { a: '-0.000000000001', b: 2 }, '0'],
    ['a * b', { a: '-99999999999999999999999999', b: 2 }, undefined],
    ['a + b', { a: -1, b: 'much' }, undefined],
  ])('%s of %j is %s where it may be negative: cut towards 0', (text, data, expected) => {
    const value = evaluatorOf(parseValue(text), true)(data)
    expect(value === undefined ? undefined : String(value)).toBe(expected)
    expect(Object.is(value, -0)).toBe(false)
  })

  test('comes to what exact fractions come to, where nothing is cut before the end', () => {
    const whole = fc.bigInt({ min: 0n, max: 1_000_000n })
    let compared = 0
    fc.assert(
      fc.property(tree, fc.tuple(whole, whole, whole, whole), (one, [a, b, c, de]) => {
        const form = formOrNone(printTree(one))
        const exact = valueOfTree(one, { a, b, c, 'd.e': de })
        if (!form || !exact) return
        compared++
        const data = { a: String(a), b: Number(b), c: String(c), d: { e: Number(de) } }
        const value = evaluatorOf(form)(data)
        // A quotient is cut once, at the end.
        const cut = (exact.n * 10n ** 12n) / exact.d
        if (cut < 0n || cut >= 10n ** 38n) expect(value).toBeUndefined()
        else expect(value?.toFixed(12).replace('.', '')).toBe(String(cut).padStart(13, '0'))
      }),
      { numRuns: 500 },
    )
    expect(compared).toBeGreaterThan(150)
  })
})

function formOrNone(text: string): ValueForm | undefined {
  try {
    return parseValue(text)
  } catch {
    return undefined
  }
}
