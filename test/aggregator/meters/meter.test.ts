import { describe, expect, test } from 'vitest'
import { defineMeter, type MeterInput, sameDefinition } from '../../../aggregator/meters/meter.ts'
import { parsePath } from '../../../schemas/meter/path.ts'

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
    expect(defineMeter('tokens', SUM)).toMatchObject({
      slug: 'tokens',
      value: 'usage.tokens',
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
    ['an average without a value', 'm', { ...SUM, aggregation: 'average', value: undefined }, 'value'],
    ['a percentile without one', 'm', { ...SUM, aggregation: 'percentile' }, 'percentile'],
    ['a sum with a percentile', 'm', { ...SUM, percentile: '95' }, 'percentile'],
    ['a percentile of 0', 'm', { ...SUM, aggregation: 'percentile', percentile: '0.0' }, 'percentile'],
    ['a percentile above 100', 'm', { ...SUM, aggregation: 'percentile', percentile: '100.1' }, 'percentile'],
    ['a percentile of five places', 'm', { ...SUM, aggregation: 'percentile', percentile: '9.00001' }, 'percentile'],
    ['a window of an average', 'm', { ...SUM, aggregation: 'average', window: 'hour' }, 'window'],
    ['a unique count of an expression', 'm', { ...SUM, aggregation: 'unique_count', value: 'a + b' }, 'value'],
    ['a filter of nothing', 'm', { ...SUM, filter: { and: [] } }, 'filter.and'],
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
    'a/',
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
    expect(sameDefinition(base, other({ value: '2 * usage.tokens / 2' }))).toBe(false)
    expect(sameDefinition(other({ value: 'a*(b + c)' }), other({ value: '$.c * a + a * b' }))).toBe(true)
    const large = { equals: { path: '$.model', value: 'large' } }
    expect(sameDefinition(base, other({ filter: large }))).toBe(false)
    expect(
      sameDefinition(other({ filter: large }), other({ filter: { in: { path: 'model', values: ['large'] } } })),
    ).toBe(true)
    expect(sameDefinition(base, other({ window: 'day' }))).toBe(false)
    const percentile = (text: string) => other({ aggregation: 'percentile', percentile: text })
    expect(sameDefinition(percentile('95'), percentile('95.0'))).toBe(true)
    expect(sameDefinition(percentile('95'), percentile('95.01'))).toBe(false)
    // Rows keep the values of dimensions by their place.
    expect(sameDefinition(base, other({ group_by: ['a.b', 'model'] }))).toBe(false)
    expect(sameDefinition(defineMeter('m', { ...SUM, value: 'a.b' }), defineMeter('m', { ...SUM, value: 'a-b' }))).toBe(
      false,
    )
  })
})
