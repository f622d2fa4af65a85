import { describe, expect, test } from 'vitest'
import { defineMeter, type MeterInput, parsePath, sameDefinition } from '../../../aggregator/meters/meter.ts'

const SUM: MeterInput = {
  event_type: 'llm.request',
  aggregation: 'sum',
  value: '$.usage.tokens',
  group_by: ['model', '$.a.b'],
}
const COUNT: MeterInput = { event_type: 'llm.request', aggregation: 'count' }

function fault(slug: string, input: MeterInput): string {
  try {
    defineMeter(slug, input)
    return 'none'
  } catch (error) {
    const { code, options } = error as { code: string; options: { errors: { path: string }[] } }
    return `${code} ${options.errors.map(({ path }) => path).join()}`
  }
}

describe('a meter', () => {
  test('is parsed to the keys to follow inside data; a leading $. means the same', () => {
    expect(defineMeter('tokens', SUM)).toEqual({
      slug: 'tokens',
      eventType: 'llm.request',
      aggregation: 'sum',
      valuePath: ['usage', 'tokens'],
      groupBy: [
        { name: 'model', path: ['model'] },
        { name: 'a.b', path: ['a', 'b'] },
      ],
    })
    expect(parsePath('usage.tokens', 'value')).toEqual(parsePath('$.usage.tokens', 'value'))
    expect(defineMeter('n', COUNT)).toMatchObject({ valuePath: [], groupBy: [] })
  })

  test.each([
    ['a sum without a value', 'm', { ...SUM, value: undefined }, 'value'],
    ['a count with a value', 'm', { ...COUNT, value: 'a' }, 'value'],
    ['six dimensions', 'm', { ...COUNT, group_by: ['a', 'b', 'c', 'd', 'e', 'f'] }, 'group_by'],
    ['a dimension twice', 'm', { ...COUNT, group_by: ['a', 'b', '$.a'] }, 'group_by'],
    ['a bad dimension', 'm', { ...COUNT, group_by: ['a', 'b c'] }, 'group_by.1'],
    ['upper case in the slug', 'Tokens', COUNT, 'slug'],
    ['an empty slug', '', COUNT, 'slug'],
    ['a slug of 64', 'x'.repeat(64), COUNT, 'slug'],
    ['a slug that is taken for all meters', '*', COUNT, 'slug'],
    ['a line break after the slug', 'tokens\n', COUNT, 'slug'],
  ])('%s is refused, naming the member', (_name, slug, input, path) => {
    const { value, ...rest } = input as MeterInput
    expect(fault(slug, value === undefined ? rest : { ...rest, value })).toBe(`invalid_request ${path}`)
  })

  test.each([
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    '$',
    '$.',
    '$$.a',
    'a b',
    'a[0]',
    '0a',
    'a/b',
    "a'b",
    'é',
    'a'.repeat(65),
    'a\n',
    'a.b.c.d.e.f.g.h.i',
  ])('%j is no path inside data', (value) => {
    expect(fault('m', { ...SUM, value })).toBe('invalid_request value')
  })

  test.each(['a', '_a', 'a-b', 'A9', 'a.b.c.d.e.f.g.h', `${'a'.repeat(64)}`, '__proto__', 'constructor'])(
    '%j is one',
    (value) => {
      expect(fault('m', { ...SUM, value })).toBe('none')
    },
  )

  test('is the same when it means the same', () => {
    const other = (change: Partial<MeterInput>) => defineMeter('m', { ...SUM, ...change })
    const base = defineMeter('m', SUM)
    expect(sameDefinition(base, other({ value: 'usage.tokens', group_by: ['$.model', 'a.b'] }))).toBe(true)
    expect(sameDefinition(base, other({ value: 'usage.other' }))).toBe(false)
    expect(sameDefinition(base, other({ event_type: 'x' }))).toBe(false)
    // Rows keep the values of dimensions by their place.
    expect(sameDefinition(base, other({ group_by: ['a.b', 'model'] }))).toBe(false)
    expect(sameDefinition(defineMeter('m', { ...SUM, value: 'a.b' }), defineMeter('m', { ...SUM, value: 'a-b' }))).toBe(
      false,
    )
  })
})
