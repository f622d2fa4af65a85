import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BODY_LIMITS, decodeBody } from '../../../ingest/accept/body.ts'
import { cannotNestDeeper, countOpeners, nestingFault } from '../../../ingest/accept/nesting.ts'

const LINES = 'application/x-ndjson'
const decode = (text: string, contentType = 'application/json') =>
  decodeBody({ contentType, contentEncoding: undefined, body: Buffer.from(text) })

/** Valid JSON of so many levels, with brackets in strings and beside the deepest place. */
const nested = fc
  .tuple(
    fc.integer({ min: 0, max: 70 }),
    fc.array(fc.constantFrom('[', '{"a":', '["]}",', '{"[":[],"a":'), { maxLength: 6 }),
  )
  .map(([levels, steps]) => {
    let text = '1'
    for (let level = 0; level < levels; level++) {
      const opening = steps[level % Math.max(1, steps.length)] ?? '['
      text = `${opening}${text}${opening.startsWith('[') ? ']' : '}'}`
    }
    return text
  })
const member = fc.tuple(fc.constantFrom('data', 'data', 'extension', 'id'), fc.oneof(nested, fc.constant('{}')))
const event = fc
  .array(member, { maxLength: 4 })
  .map((members) => `{${members.map(([name, value]) => `"${name}":${value}`).join()}}`)
const events = fc.array(fc.oneof({ weight: 9, arbitrary: event }, nested), { minLength: 1, maxLength: 30 })

describe('the number of brackets says, without a scan, that most bodies are shallow', () => {
  test('a body is refused for its depth exactly when the scan finds it too deep, wherever the depth lies', async () => {
    await fc.assert(
      fc.asyncProperty(events, fc.boolean(), async (some, asLines) => {
        const text = asLines ? some.join('\n') : `[${some.join()}]`
        const tooDeep = nestingFault(Buffer.from(text), BODY_LIMITS.levels, asLines) !== undefined
        const decoding = decode(text, asLines ? LINES : undefined)
        if (tooDeep) await expect(decoding).rejects.toThrow(/^Nest JSON at most 64 levels/)
        else expect((await decoding).events).toEqual(some.map((one) => JSON.parse(one)))
      }),
      { numRuns: 300 },
    )
  })

  test('it knows of no batch that is too deep', () => {
    const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`
    // The list, the event, its data and 61 levels below are 64.
    for (const [levels, allowed] of [
      [61, true],
      [62, false],
    ] as const) {
      const text = `[${'{"data":{}},'.repeat(99)}{"data":{"a":${deep(levels)}}}]`
      expect(cannotNestDeeper(JSON.parse(text) as unknown[], countOpeners(text, 1_000), 64)).toBe(allowed)
      expect(nestingFault(Buffer.from(text), 64, false) === undefined).toBe(allowed)
    }
  })

  test('depth is what the sender is told, also of a body that is wrong in other ways', async () => {
    const deep = '['.repeat(100)
    await expect(decode(deep)).rejects.toThrow(/levels deep/)
    const invalid = Buffer.concat([Buffer.from(deep), Buffer.from([0xff])])
    const body = { contentType: 'application/json', contentEncoding: undefined, body: invalid }
    await expect(decodeBody(body)).rejects.toThrow(/levels deep/)
  })

  test('ten thousand events with data are not scanned, a body of brackets is before it is parsed', async () => {
    const many = `[${Array.from({ length: 10_000 }, () => '{"data":{"n":1}}').join()}]`
    expect(cannotNestDeeper(JSON.parse(many) as unknown[], countOpeners(many, 1e6), 64)).toBe(true)
    const before = process.memoryUsage().heapUsed
    await expect(decode('['.repeat(4_000_000) + ']'.repeat(4_000_000))).rejects.toThrow(/levels deep/)
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(60_000_000)
  })
})
