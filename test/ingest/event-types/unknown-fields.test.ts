import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileEventType } from '../../../ingest/event-types/avro-schema.ts'

const TOKENS = { name: 'tokens', type: 'long' }
const PATIENT = {
  type: 'record',
  name: 'Visit',
  fields: [
    TOKENS,
    { name: 'rows', type: { type: 'array', items: { type: 'record', name: 'Row', fields: [TOKENS] } }, default: [] },
  ],
}

/** HC-11: what the schema does not declare is refused or dropped, by policy, never stored. */
describe('undeclared fields', () => {
  const refuse = compileEventType(PATIENT)
  const drop = compileEventType(PATIENT, 'drop')

  test('are refused by name unless the type says otherwise', () => {
    const data = { tokens: 1, diagnosis: 'x' }
    expect(refuse.validate(data)).toMatchObject({ ok: false, code: 'unknown_field', path: 'data.diagnosis' })
    expect(compileEventType(PATIENT, 'refuse').validate(data)).toMatchObject({ ok: false })
  })

  test('are left out at every level where the type drops them, and what is declared stays', () => {
    const data = { diagnosis: 'x', tokens: 1, rows: [{ tokens: 2, name: 'y' }, { tokens: 3 }] }
    const json = '{"tokens":1,"rows":[{"tokens":2},{"tokens":3}]}'
    expect(drop.validate(data)).toEqual({ ok: true, json, value: JSON.parse(json) })
  })

  test('do not excuse what is missing or wrong', () => {
    expect(drop.validate({ token: 1 })).toMatchObject({ code: 'missing_field', path: 'data.tokens' })
    expect(drop.validate({ tokens: 'x', a: 1 })).toMatchObject({ code: 'invalid_value', path: 'data.tokens' })
  })

  test('do not decide between the branches of a union: one that declares all comes first', () => {
    const branch = (name: string, ...fields: string[]) => ({
      type: 'record',
      name,
      fields: fields.map((field) => ({ name: field, type: 'int' })),
    })
    const types = [branch('A', 'a'), branch('B', 'a', 'b')]
    const either = compileEventType({ type: 'record', name: 'X', fields: [{ name: 'x', type: types }] }, 'drop')
    expect(either.validate({ x: { a: 1, b: 2 } })).toMatchObject({ json: '{"x":{"a":1,"b":2}}' })
    expect(either.validate({ x: { a: 1, c: 2 } })).toMatchObject({ json: '{"x":{"a":1}}' })
    expect(either.validate({ x: { b: 1 } })).toMatchObject({ ok: false })
  })

  test('dropping is refusing after they were taken away', () => {
    const extras = fc.dictionary(fc.string(), fc.jsonValue())
    fc.assert(
      fc.property(extras, extras, fc.nat(), (outer, inner, tokens) => {
        const { rows: _, ...rest } = outer
        const data = { ...rest, tokens, rows: [{ ...inner, tokens }] }
        expect(drop.validate(data)).toEqual(refuse.validate({ tokens, rows: [{ tokens }] }))
      }),
    )
  })
})
