import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../../schemas/http/problem.ts'
import { type FilterInput, filterFormOf, passes } from '../../../schemas/meter/filter.ts'

const holds = (filter: FilterInput, data: unknown) => passes(filterFormOf(filter), data)

describe('a filter', () => {
  test('its normal form is a list of alternatives, each a list of conditions', () => {
    const filter: FilterInput = {
      and: [
        { or: [{ equals: { path: '$.model', value: 'a' } }, { exists: { path: 'b' } }] },
        {
          not: {
            or: [{ compare: { path: 'n', op: 'gte', value: '10.50' } }, { in: { path: 'c.d', values: [1, true] } }],
          },
        },
      ],
    }
    expect(JSON.stringify(filterFormOf(filter))).toBe(
      JSON.stringify([
        [
          [['model'], 'in', ['a'], 0],
          [['n'], 'gte', ['10.5'], 1],
          [['c', 'd'], 'in', ['1', 'true'], 1],
        ],
        [
          [['b'], 'exists', [], 0],
          [['n'], 'gte', ['10.5'], 1],
          [['c', 'd'], 'in', ['1', 'true'], 1],
        ],
      ]),
    )
    expect(filterFormOf(undefined)).toEqual([])
    expect(passes([], {})).toBe(true)
  })

  test('texts are compared as texts: a number as JSON writes it', () => {
    const is = (value: string) => ({ equals: { path: 'x', value } })
    expect(holds(is('5'), { x: 5 })).toBe(true)
    expect(holds(is('5'), { x: '5' })).toBe(true)
    expect(holds(is('5.0'), { x: 5 })).toBe(false)
    expect(holds(is('0.0000001'), { x: 1e-7 })).toBe(true)
    expect(holds(is('true'), { x: true })).toBe(true)
    for (const x of [null, undefined, {}, [], ['5']]) {
      for (const text of ['null', 'undefined', '', '[object Object]', '5']) expect(holds(is(text), { x })).toBe(false)
    }
    expect(holds(is('x'), {})).toBe(false)
  })

  test('null is as absent; false, 0 and empty text exist', () => {
    const exists = { exists: { path: 'x' } }
    for (const x of [0, false, '', [], {}]) expect(holds(exists, { x })).toBe(true)
    for (const data of [{}, { x: null }, { y: 1 }]) expect(holds(exists, data)).toBe(false)
  })

  test('only decimals compare, text or number, and never what is no quantity', () => {
    const over = (value: string) => ({ compare: { path: 'x', op: 'gt' as const, value } })
    for (const x of [11, '11', '10.000000000001', 1e20]) expect(holds(over('10'), { x })).toBe(true)
    for (const x of [10, '9', 'many', true, null, -11, {}]) expect(holds(over('10'), { x })).toBe(false)
    expect(holds(over('0'), {})).toBe(false)
    expect(holds({ compare: { path: 'x', op: 'lt', value: '5' } }, {})).toBe(false)
    expect(holds({ not: { compare: { path: 'x', op: 'lt', value: '5' } } }, {})).toBe(true)
  })
})

const path = fc.constantFrom('a', 'b', 'c.d')
const text = fc.constantFrom('1', '2', '10', 'x', 'true')
const decimal = fc.constantFrom('0', '1', '1.5', '10')
const condition: fc.Arbitrary<FilterInput> = fc.oneof(
  fc.record({ equals: fc.record({ path, value: text }) }),
  fc.record({ in: fc.record({ path, values: fc.array(text, { minLength: 1, maxLength: 3 }) }) }),
  fc.record({ exists: fc.record({ path }) }),
  fc.record({ compare: fc.record({ path, op: fc.constantFrom('lt', 'lte', 'gt', 'gte'), value: decimal }) }),
)
const filters: fc.Arbitrary<FilterInput> = fc.letrec<{ filter: FilterInput }>((tie) => {
  const some = fc.array(tie('filter'), { minLength: 1, maxLength: 3 })
  return {
    filter: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      condition,
      fc.record({ and: some }),
      fc.record({ or: some }),
      fc.record({ not: tie('filter') }),
    ),
  }
}).filter
const value = fc.constantFrom<unknown>(undefined, null, 1, 2, 10, 1.5, '1', '1.5', 'x', true, -1, [], {})
const datas = fc.record({ a: value, b: value, d: value }).map(({ a, b, d }) => ({ a, b, c: { d } }))

test('the normal form says of all data what the filter says, read part by part', () => {
  let compared = 0
  fc.assert(
    fc.property(filters, datas, (filter, data) => {
      const form = formOrNone(filter)
      if (!form) return
      compared++
      expect(passes(form, data)).toBe(naive(filter, data))
    }),
    { numRuns: 1000 },
  )
  expect(compared).toBeGreaterThan(700)
})

function naive(filter: FilterInput, data: { a: unknown; b: unknown; c: { d: unknown } }): boolean {
  const at = (name: string) => ({ a: data.a, b: data.b, 'c.d': data.c.d })[name as 'a']
  if ('and' in filter) return filter.and.every((part) => naive(part, data))
  if ('or' in filter) return filter.or.some((part) => naive(part, data))
  if ('not' in filter) return !naive(filter.not, data)
  if ('exists' in filter) return (at(filter.exists.path) ?? undefined) !== undefined
  const textOf = (one: unknown) => (['string', 'number', 'boolean'].includes(typeof one) ? String(one) : undefined)
  if ('equals' in filter) return textOf(at(filter.equals.path)) === filter.equals.value
  if ('in' in filter) return filter.in.values.some((one) => textOf(at(filter.in.path)) === one)
  const found = at(filter.compare.path)
  if (!['string', 'number'].includes(typeof found) || !/^\d+(\.\d+)?$/.test(String(found))) return false
  const [left, right] = [Number(found), Number(filter.compare.value)]
  return { lt: left < right, lte: left <= right, gt: left > right, gte: left >= right }[filter.compare.op]
}

describe('what is no filter is refused, naming the member', () => {
  const exists = { exists: { path: 'a' } }
  test.each([
    [null, 'filter'],
    [[], 'filter'],
    [{}, 'filter'],
    [{ ...exists, and: [exists] }, 'filter'],
    [{ like: { path: 'a' } }, 'filter'],
    [{ and: [] }, 'filter.and'],
    [{ or: [exists, 5] }, 'filter.or.1'],
    [{ not: { exists: { path: 'a b' } } }, 'filter.not.exists.path'],
    [{ exists: { path: 'a', odd: 1 } }, 'filter.exists'],
    [{ equals: { path: 'a' } }, 'filter.equals'],
    [{ equals: { path: 'a', value: null } }, 'filter.equals.value'],
    [{ equals: { path: 'a', value: 0.1 + 0.2 } }, 'filter.equals.value'],
    [{ equals: { path: 'a', value: Number.POSITIVE_INFINITY } }, 'filter.equals.value'],
    [{ equals: { path: 'a', value: '\u0000' } }, 'filter.equals.value'],
    [{ in: { path: 'a', values: [] } }, 'filter.in.values'],
    [{ in: { path: 'a', values: ['x', {}] } }, 'filter.in.values.1'],
    [{ compare: { path: 'a', op: 'eq', value: '1' } }, 'filter.compare.op'],
    [{ compare: { path: 'a', op: 'lt', value: 'x' } }, 'filter.compare.value'],
    [{ compare: { path: 'a', op: 'lt', value: '-1' } }, 'filter.compare.value'],
    [{ and: Array.from({ length: 17 }, () => exists) }, 'filter.and'],
    [{ or: Array.from({ length: 65 }, () => exists) }, 'filter.or'],
    [{ and: Array.from({ length: 7 }, () => ({ or: [exists, exists] })) }, 'filter.and'],
    [nested(40), `filter${'.not'.repeat(17)}`],
  ])('%j', (filter, member) => {
    let told: unknown
    try {
      filterFormOf(filter)
    } catch (error) {
      told = error instanceof Problem && error.options.errors?.[0]?.path
    }
    expect(told).toBe(member)
  })

  function nested(depth: number): unknown {
    return depth === 0 ? exists : { not: nested(depth - 1) }
  }

  test('whatever it is, it is read or a Problem', () => {
    fc.assert(
      fc.property(fc.anything({ maxDepth: 4 }), (input) => {
        formOrNone(input)
      }),
    )
  })
})

function formOrNone(input: unknown) {
  try {
    return filterFormOf(input)
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return undefined
  }
}
