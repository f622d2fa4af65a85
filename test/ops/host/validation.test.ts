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
