import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../../schemas/http/problem.ts'
import { plainPathOf } from '../../../schemas/meter/evaluate.ts'
import { parseValue, printValue } from '../../../schemas/meter/expression.ts'
import { printTree, tree } from './arbitrary-expression.ts'

const json = (text: string) => JSON.stringify(parseValue(text))
function fault(text: string): string {
  try {
    return JSON.stringify(parseValue(text))
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    expect(error.code).toBe('invalid_request')
    expect(error.options.errors?.[0]?.path).toBe('value')
    return error.options.errors?.[0]?.message ?? ''
  }
}

describe('the normal form of a value', () => {
  test.each([
    ['tokens', '[[["1",[["tokens"]]]],[]]'],
    ['$.usage.input', '[[["1",[["usage","input"]]]],[]]'],
    ['((tokens))', '[[["1",[["tokens"]]]],[]]'],
    ['a-b', '[[["1",[["a-b"]]]],[]]'],
    ['a + b', '[[["1",[["a"]]],["1",[["b"]]]],[]]'],
    ['b+a', '[[["1",[["a"]]],["1",[["b"]]]],[]]'],
    ['a - b', '[[["1",[["a"]]],["-1",[["b"]]]],[]]'],
    ['2 * a + 0.50 * a', '[[["2.5",[["a"]]]],[]]'],
    ['(a + b) * (a - b)', '[[["1",[["a"],["a"]]],["-1",[["b"],["b"]]]],[]]'],
    ['a / 1000', '[[["1",[["a"]]]],[["1000",[]]]]'],
    ['a / b / c', '[[["1",[["a"]]]],[["1",[["b"],["c"]]]]]'],
    ['a / (b / c)', '[[["1",[["a"],["c"]]]],[["1",[["b"]]]]]'],
    ['a / 2 + b / 2', '[[["1",[["a"]]],["1",[["b"]]]],[["2",[]]]]'],
    ['a / b + 1', '[[["1",[["a"]]],["1",[["b"]]]],[["1",[["b"]]]]]'],
    ['1 + 2', '[[["3",[]]],[]]'],
    // An empty numerator is 0, while an empty denominator is 1: this was taken for 2.
    ['(b - b) + a / c', '[[["1",[["a"]]]],[["1",[["c"]]]]]'],
  ])('%s', (text, form) => {
    expect(json(text)).toBe(form)
  })

  test('a path alone is known as such', () => {
    expect(plainPathOf(parseValue('1 * $.a.b'))).toEqual(['a', 'b'])
    for (const text of ['2 * a', 'a + b', 'a / b', 'a * a', '5']) expect(plainPathOf(parseValue(text))).toBeUndefined()
  })
})

describe('what is no value is refused, with its position and what to do', () => {
  test.each([
    ['', 'position 1: put a number, a property or ( before the end'],
    ['a b', 'position 3: put an operator before "b"'],
    ['a +', 'position 4: put a number, a property or ( before the end'],
    ['-a', 'position 1: put a number, a property or ( before "-"'],
    ['(a', 'position 3: close the ( of position 1'],
    ['a)', 'position 2: put an operator before ")"'],
    ['a / 0', 'position 5: it divides by 0'],
    ['a / (b - b)', 'position 5: it divides by 0'],
    ['a - a', 'is 0 for every event: name a property of data'],
    ['1.2.3', 'position 1: write "1.2.3" with at most 26 digits before and 12 after the point'],
    ['a..b', 'position 1: "a..b" is no dotted path inside data: keys are letters, digits, _ and -'],
    ['a.b.c.d.e.f.g.h.i', 'position 1: "a.b.c.d.e.f.g.h.i" is more than 8 keys deep'],
    ['a % b', expect.stringMatching(/^position 3: "%" is not part of an expression; write decimals/)],
    ['process.exit()', expect.stringMatching(/^position 13: put an operator/)],
    ['a * a * a * a * a', 'position 15: the expression multiplies more than 4 properties: make it simpler'],
    [`${'(a + b + c + d + e) * '.repeat(3)}(a + b + c + d + e)`, expect.stringMatching(/more than 64 terms/)],
    ['99999999999999 * 99999999999999', expect.stringMatching(/more than 26 digits/)],
    ['0.0000001 * 0.0000001 * a', expect.stringMatching(/12 after the point/)],
    ['a'.repeat(513), 'is longer than 512 characters: shorten it'],
  ])('%j', (text, message) => {
    expect(fault(text)).toEqual(message)
  })

  test('whatever the text, it parses or is a Problem: nothing else is thrown', () => {
    const pieces = fc.constantFrom(...'ab1$.+-*/() ,'.split(''), '0.5', 'a.b', '\u0000', 'é', '__proto__', '\n')
    const garbage = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 600 }),
      fc.array(pieces, { maxLength: 60 }).map((some) => some.join('')),
    )
    fc.assert(fc.property(garbage, (text) => void fault(text)))
  })

  test('a deep text neither overflows the stack nor takes long', () => {
    expect(json(`${'('.repeat(255)}a${')'.repeat(255)}`)).toBe(json('a'))
    expect(fault('('.repeat(512))).toContain('position 513')
  })
})

test('a printed form parses to itself', () => {
  let kept = 0
  fc.assert(
    fc.property(tree, (one) => {
      const form = fault(printTree(one))
      if (!form.startsWith('[[')) return
      kept++
      const printed = printValue(JSON.parse(form))
      // Multiplied out, a value may be longer than what may be sent.
      if (printed.length <= 512) expect(fault(printed)).toBe(form)
    }),
    { numRuns: 300 },
  )
  expect(kept).toBeGreaterThan(100)
})
