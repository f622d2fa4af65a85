import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { packMarks, runsOf } from '../../../ingest/quota/quota-marks.ts'
import { ulid, uuid } from './ids.ts'

const NOW = Date.UTC(2026, 10, 20, 12)
const MINUTE = 60_000
const itemsOf = (ids: readonly string[]) => ids.map((id) => ({ identity: `7\nsource\n${id}`, draws: [] }))
const runOf = (id: string, nowMs = NOW) => {
  const [run, ...rest] = runsOf(7, itemsOf([id]), nowMs)
  expect(rest).toEqual([])
  return run
}

describe('where the mark of an identity lies', () => {
  test('an id that begins with its time has it in a set of that time', () => {
    expect(runOf('019a9e2f-1234-7abc-8def-0123456789ab', 0x019a9e2f1234)).toEqual({
      key: 'quota:{7}:seen:019a9e2f-1',
      writes: true,
      items: 1,
    })
    expect(runOf('01JD4T5ABCDEFGHJKMNPQRSTVW', ulidTime('01JD4T5ABC'))).toEqual({
      key: 'quota:{7}:seen:01JD4T5',
      writes: true,
      items: 1,
    })
  })

  test.each([
    ['an opaque id', 'order-1'],
    ['an id with its time in the middle', `order-${uuid(0, NOW)}`],
    ['a UUIDv4', '3d813cbb-47fb-42ba-91df-831e1593ac29'],
    ['an id of long ago', uuid(-120, NOW)],
    ['an id from far ahead', ulid(120, NOW)],
    ['an empty id', ''],
  ])('%s has it in the rotating ones', (_what, id) => {
    expect(runOf(id)).toEqual({ key: undefined, writes: false, items: 1 })
  })

  /** A set that takes marks for ever would grow for ever, if an emitter's clock stands still. */
  test('a set takes marks for half an hour and a slice at most', () => {
    for (const id of [uuid(0, NOW), ulid(0, NOW)]) {
      for (const minutes of [-17.2, 17.2]) expect(runOf(id, NOW + minutes * MINUTE)?.writes).toBe(false)
      for (const minutes of [-15, 15]) expect(runOf(id, NOW + minutes * MINUTE)?.writes).toBe(true)
    }
  })

  test('a mark is found for a quarter of an hour by processes whose clocks differ by some minutes', () => {
    const seconds = (from: number, to: number) => fc.integer({ min: 60 * from, max: 60 * to })
    let written = 0
    fc.assert(
      fc.property(seconds(-20, 20), seconds(-5, 20), fc.boolean(), (age, later, asUuid) => {
        const id = asUuid ? uuid(age / 60, NOW) : ulid(age / 60, NOW)
        const run = runOf(id)
        if (!run?.writes) return
        written++
        expect(runOf(id, NOW + later * 1_000)?.key).toBe(run.key)
      }),
    )
    expect(written).toBeGreaterThan(20)
  })

  test('it depends on no other item of the request, and every item is in one run', () => {
    const pool = [-30, -5, 0, 0, 5].flatMap((minutes) => [uuid(minutes, NOW), ulid(minutes, NOW), `x${minutes}`, ''])
    // The first digits of a time where no id begins.
    pool.push(uuid(0, NOW).slice(0, 8), `-${uuid(0, NOW)}`, uuid(0, NOW).slice(0, 26))
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pool), { minLength: 1, maxLength: 30 }), (ids) => {
        const runs = runsOf(7, itemsOf(ids), NOW)
        const together = runs.flatMap(({ items, ...run }) =>
          Array.from({ length: items }, () => ({ ...run, items: 1 })),
        )
        expect(together).toEqual(ids.map((id) => runOf(id)))
      }),
    )
  })
})

describe('marks in one text', () => {
  const packed = (identity: string) => packMarks([{ identity, draws: [] }])

  test('short ones in plain letters are themselves', () => {
    expect(packed('7\ns\nid')).toBe('\x067\ns\nid')
    expect(packed('x'.repeat(100))).toBe(`d${'x'.repeat(100)}`)
    expect(packed('')).toBe('\x00')
  })

  test('long ones and those beyond ASCII are hashed, and so no length is wrong in bytes', () => {
    for (const identity of ['x'.repeat(101), 'Zoë']) {
      expect(packed(identity).charCodeAt(0)).toBe(22)
      expect(packed(identity).slice(1)).toMatch(/^[\w-]{22}$/)
    }
  })

  test('it depends on no other item of the request', () => {
    const text = fc.oneof(fc.string({ maxLength: 120 }), fc.string({ unit: 'binary', maxLength: 60 }))
    fc.assert(
      fc.property(fc.array(text, { maxLength: 10 }), (identities) => {
        const together = packMarks(identities.map((identity) => ({ identity, draws: [] })))
        expect(together).toBe(identities.map(packed).join(''))
        expect(Buffer.byteLength(together)).toBe(together.length)
      }),
    )
  })
})

function ulidTime(digits: string): number {
  return [...digits].reduce((time, digit) => time * 32 + '0123456789ABCDEFGHJKMNPQRSTVWXYZ'.indexOf(digit), 0)
}
