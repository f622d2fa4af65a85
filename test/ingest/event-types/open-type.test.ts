import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { plainNumber } from '../../../ingest/event-types/json.ts'
import { OPEN_TYPE } from '../../../ingest/event-types/open-type.ts'

const { validate } = OPEN_TYPE
const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1) })

/** Issue 5: an unknown event type gets an open schema (any JSON object) on the door for emitters of OpenMeter. */
describe('the open type', () => {
  test('takes any JSON object and writes it out again, keys sorted', () => {
    const data = { b: [1, 'x', null, true, { d: 0.1 + 0.2 }], a: { __proto__: null, toString: '€' } }
    expect(validate(data)).toMatchObject({
      ok: true,
      json: '{"a":{"toString":"€"},"b":[1,"x",null,true,{"d":0.30000000000000004}]}',
    })
    expect(validate(JSON.parse('{"__proto__": {"x": 1e-7}}'))).toMatchObject({ json: '{"__proto__":{"x":0.0000001}}' })
    expect(validate({})).toMatchObject({ ok: true, json: '{}' })
  })

  test.each([
    ['no object', [1], 'data'],
    ['half a surrogate pair', { a: '\ud800' }, 'data.a'],
    ['a number beyond 64 bits', { a: { b: 1e19 } }, 'data.a.b'],
    ['too deep', deep(33), `data${'.a'.repeat(32)}`],
    ['a text that is too long', { a: 'x'.repeat(65_537) }, 'data.a'],
    ['too many items', { a: Array(1_001).fill(1) }, 'data.a'],
    ['too many keys', Object.fromEntries(Array.from({ length: 257 }, (_, n) => [`k${n}`, 1])), 'data'],
    ['too large', { a: Array(8).fill('x'.repeat(40_000)) }, 'data.a[6]'],
  ])('refuses %s, naming the place', (_name, data, path) => {
    expect(validate(data)).toMatchObject({ ok: false, code: 'invalid_value', path })
  })

  test('is as deep as other data may be', () => {
    expect(validate(deep(32))).toMatchObject({ ok: true })
  })

  test('loses nothing that it accepts', () => {
    const exponentFree = fc.json({ maxDepth: 6 }).map((text) => ({ data: JSON.parse(text) as unknown }))
    fc.assert(
      fc.property(exponentFree, (data) => {
        const checked = validate(data)
        if (!checked.ok) return checked.code === 'invalid_value'
        expect(JSON.parse(checked.json)).toEqual(JSON.parse(JSON.stringify(data)))
        return true
      }),
    )
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (n) => {
        const checked = validate({ n })
        expect(checked.ok).toBe(Math.abs(n) < 2 ** 63)
        if (checked.ok && !Object.is(n, -0)) expect(checked.json).toContain(plainNumber(n))
      }),
    )
  })
})
