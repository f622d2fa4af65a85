import { type TSchema, Type } from 'typebox'
import { describe, expect, test } from 'vitest'
import { validatorCompiler } from '../../../ops/host/validation.ts'

function validated(schema: TSchema, value: unknown, httpPart = 'body'): unknown {
  const route = { schema, httpPart, method: 'POST', url: '/' } as Parameters<typeof validatorCompiler>[0]
  return validatorCompiler(route)(value)
}

const inner = Type.Object({ step: Type.Integer({ default: 7 }) })

/** Filling in takes microseconds, so it is left out where a schema has nothing to fill in: never where it has. */
describe('what a request leaves out is filled in', () => {
  test.each([
    ['at the top', Type.Object({ step: Type.Integer({ default: 7 }) }), {}, { step: 7 }],
    ['in an object', Type.Object({ inner }), { inner: {} }, { inner: { step: 7 } }],
    [
      'in an array',
      Type.Object({ all: Type.Array(inner) }),
      { all: [{}, { step: 1 }] },
      { all: [{ step: 7 }, { step: 1 }] },
    ],
    ['in a branch of a union', Type.Union([Type.String(), inner]), {}, { step: 7 }],
  ])('%s', (_where, schema, given, filled) => {
    expect(validated(schema, given)).toEqual({ value: filled })
  })

  test('in a query, whose text becomes a number', () => {
    const schema = Type.Object({ limit: Type.Integer({ default: 100 }), page: Type.Optional(Type.Integer()) })
    expect(validated(schema, { page: '3' }, 'querystring')).toEqual({ value: { limit: 100, page: 3 } })
  })
})

test('without anything to fill in a body stays the very object, and is checked', () => {
  const body = { name: 'a' }
  const schema = Type.Object({ name: Type.String() }, { additionalProperties: false })
  expect(validated(schema, body)).toEqual({ value: body })
  expect((validated(schema, body) as { value: unknown }).value).toBe(body)
  expect(validated(schema, { name: 'a', other: 1 })).toMatchObject({ error: { code: 'invalid_request' } })
})

/** Who reads an error is to know what to send. */
describe('values that are listed are named, and forms shown', () => {
  const refusal = (schema: TSchema, value: unknown, httpPart?: string) =>
    (validated(schema, value, httpPart) as { error: { message: string } }).error

  test.each([
    ['an enum', Type.Enum(['day', 'month']), 'must be one of day, month'],
    [
      'a union of literals',
      Type.Union([Type.Literal('now'), Type.Literal('period_end')]),
      'must be one of now, period_end',
    ],
    [
      'with null',
      Type.Union([Type.Literal('now'), Type.Enum(['a', 'b']), Type.Null()]),
      'must be one of now, a, b, null',
    ],
    ['a literal', Type.Literal(1), 'must be one of 1'],
    ['other forms beside', Type.Union([Type.Literal('now'), Type.Integer()]), 'matches none of the allowed forms'],
    ['no list', Type.Integer(), 'must be integer'],
    [
      'a time',
      Type.String({ format: 'date-time' }),
      'must be an RFC 3339 time with its offset, such as 2026-01-31T12:00:00Z',
    ],
    ['an id', Type.String({ format: 'uuid' }), 'must be an id, as it was answered'],
  ])('%s', (_what, type, message) => {
    expect(refusal(Type.Object({ when: type }), { when: 'x' }).message).toBe(`The body is not valid: when ${message}.`)
  })

  test('and a header by its name', () => {
    const schema = Type.Object({ 'idempotency-key': Type.String() })
    expect(refusal(schema, {}, 'headers').message).toBe('The header is not valid: idempotency-key is missing.')
  })
})
