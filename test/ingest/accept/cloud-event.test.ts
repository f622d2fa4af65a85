import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readCloudEvent } from '../../../ingest/accept/cloud-event.ts'

const NOW = Date.parse('2026-11-20T12:00:00Z')
const DAY = 86_400_000
const VALID = {
  specversion: '1.0',
  id: 'row-1',
  source: 'demo',
  type: 'llm.request',
  subject: 'customer-1',
  data: { n: 1 },
}

function read(changes: Record<string, unknown> = {}, mayBackfill = false) {
  return readCloudEvent({ ...VALID, ...changes }, NOW, { mayBackfill })
}

function refusal(changes: Record<string, unknown>, mayBackfill = false): [string, string] {
  const outcome = read(changes, mayBackfill)
  return outcome.ok ? ['accepted', ''] : [outcome.code, outcome.path]
}

function timeOf(time: string): number | undefined {
  const outcome = readCloudEvent({ ...VALID, time }, NOW, { mayBackfill: true })
  return outcome.ok ? outcome.event.timeMs : undefined
}

describe('attributes', () => {
  test('a complete event is read; extension attributes but tallyhold are ignored', () => {
    expect(read({ time: '2026-11-20T11:00:00Z', traceparent: 'x', dataschema: 5 })).toEqual({
      ok: true,
      event: {
        id: 'row-1',
        source: 'demo',
        type: 'llm.request',
        subject: 'customer-1',
        timeMs: NOW - 3_600_000,
        timeGiven: true,
        data: { n: 1 },
      },
    })
  })
  test('tallyhold names the hold that admitted the event; null counts as absent', () => {
    expect(read({ tallyhold: 'hold-1' })).toMatchObject({ ok: true, event: { hold: 'hold-1' } })
    for (const tallyhold of [undefined, null]) expect(read({ tallyhold })).not.toHaveProperty('event.hold')
    for (const tallyhold of ['', 5, 'a\nb', 'x'.repeat(257)])
      expect(read({ tallyhold })).toMatchObject({ ok: false, id: 'row-1', code: 'invalid_value', path: 'tallyhold' })
  })
  test('id, source, type, subject and data are required, and null counts as absent', () => {
    for (const name of ['id', 'source', 'type', 'subject', 'data']) {
      expect(refusal({ [name]: undefined })).toEqual(['missing_field', name])
      expect(refusal({ [name]: null })).toEqual(['missing_field', name])
    }
  })
  test('what one event had is never lent to the next', () => {
    for (const name of ['source', 'type', 'subject']) {
      expect(read({ [name]: 'first' })).toMatchObject({ ok: true, event: { [name]: 'first' } })
      expect(refusal({ [name]: undefined })).toEqual(['missing_field', name])
      expect(refusal({ [name]: '' })).toEqual(['invalid_value', name])
      expect(refusal({ [name]: ['first'] })).toEqual(['invalid_value', name])
      expect(read({ [name]: 'first ' })).toMatchObject({ ok: true, event: { [name]: 'first ' } })
    }
  })
  test('types of corrections are reserved: no emitter can send what voids or replaces an event', () => {
    for (const type of ['tallyline.void', 'tallyline.replace', 'tallyline.', 'tallyline.anything']) {
      expect(read({ type })).toEqual({
        ok: false,
        id: 'row-1',
        code: 'reserved_type',
        path: 'type',
        message: 'must not begin with tallyline.: that prefix is reserved for corrections',
      })
    }
    for (const type of ['tallyline', 'Tallyline.void', 'my.tallyline.void']) expect(read({ type }).ok).toBe(true)
  })
  test('they must be non-empty, well-formed strings without control characters', () => {
    for (const name of ['id', 'source', 'type', 'subject']) {
      for (const value of ['', 5, {}, [], true, 'a\0b', 'a\nb', '\u007f', '\u0085', '\ud800', 'x\udc00y']) {
        expect(refusal({ [name]: value })).toEqual(['invalid_value', name])
      }
      for (const value of ['é', '😀', ' ', '__proto__']) expect(read({ [name]: value }).ok).toBe(true)
    }
  })
  test('their length is limited in bytes of UTF-8', () => {
    for (const [name, longest] of Object.entries({ id: 256, source: 256, subject: 256, type: 128 })) {
      expect(read({ [name]: 'a'.repeat(longest) }).ok).toBe(true)
      expect(read({ [name]: 'é'.repeat(longest / 2) }).ok).toBe(true)
      expect(refusal({ [name]: 'a'.repeat(longest + 1) })).toEqual(['invalid_value', name])
      expect(refusal({ [name]: `${'é'.repeat(longest / 2)}a` })).toEqual(['invalid_value', name])
      expect(refusal({ [name]: 'a'.repeat(10_000_000) })).toEqual(['invalid_value', name])
    }
  })
  test('a refusal carries the id where there is a valid one', () => {
    expect(read({ subject: '' })).toMatchObject({ ok: false, id: 'row-1' })
    expect(read({ id: 'a\0' })).not.toHaveProperty('id')
  })
  test('specversion is 1.0 or absent', () => {
    for (const specversion of [undefined, null, '1.0']) expect(read({ specversion }).ok).toBe(true)
    for (const specversion of ['0.3', '1.0.2', 1, ''])
      expect(refusal({ specversion })).toEqual(['invalid_value', 'specversion'])
  })
  test('data must be a JSON object', () => {
    for (const datacontenttype of [undefined, 'application/json', 'Application/JSON; charset=utf-8']) {
      expect(read({ datacontenttype }).ok).toBe(true)
    }
    for (const datacontenttype of ['text/plain', 'application/jsonx', 5, '']) {
      expect(refusal({ datacontenttype })).toEqual(['invalid_value', 'datacontenttype'])
    }
    for (const data of [[], 'a', 1, true]) expect(refusal({ data })).toEqual(['invalid_value', 'data'])
    expect(refusal({ data: undefined, data_base64: 'AA==' })).toEqual(['invalid_value', 'data_base64'])
  })
  test('what is no object is refused without a path', () => {
    for (const raw of [null, undefined, 1, 'a', [], [VALID]]) {
      expect(readCloudEvent(raw, NOW, { mayBackfill: true })).toMatchObject({
        ok: false,
        code: 'invalid_value',
        path: '',
      })
    }
  })
  test('attributes from a __proto__ key do not count', () => {
    const raw = JSON.parse(`{"__proto__":${JSON.stringify(VALID)}}`)
    expect(readCloudEvent(raw, NOW, { mayBackfill: true })).toMatchObject({
      ok: false,
      code: 'missing_field',
      path: 'id',
    })
  })
  test('nothing that JSON can hold makes it throw', () => {
    const raw = fc.oneof(
      fc.jsonValue(),
      fc.record(Object.fromEntries(Object.keys(VALID).map((key) => [key, fc.jsonValue()]))),
    )
    fc.assert(fc.property(raw, (value) => typeof readCloudEvent(value, NOW, { mayBackfill: true }).ok === 'boolean'))
  })
})

describe('time', () => {
  test('an absent time is that of arrival', () => {
    for (const time of [undefined, null]) {
      expect(read({ time })).toMatchObject({ ok: true, event: { timeMs: NOW, timeGiven: false } })
    }
  })
  test('every time that JavaScript writes is read back, in any offset', () => {
    const minutes = fc.integer({ min: -1439, max: 1439 })
    const ms = fc.integer({ min: NOW - 2000 * DAY, max: NOW })
    fc.assert(
      fc.property(ms, minutes, (at, offset) => {
        const size = Math.abs(offset)
        const pad = (part: number) => String(part).padStart(2, '0')
        const zone = `${offset < 0 ? '-' : '+'}${pad(Math.floor(size / 60))}:${pad(size % 60)}`
        const local = new Date(at + offset * 60_000).toISOString().slice(0, -1)
        expect(timeOf(`${local}${zone}`)).toBe(at)
        expect(timeOf(new Date(at).toISOString())).toBe(at)
      }),
    )
  })
  test('fractions of any length are cut to milliseconds', () => {
    const base = Date.parse('2026-11-20T11:59:59Z')
    expect(timeOf('2026-11-20T11:59:59.9799600Z')).toBe(base + 979)
    expect(timeOf('2026-11-20T11:59:59.5z')).toBe(base + 500)
    expect(timeOf('2026-11-20t11:59:59.0009Z')).toBe(base)
    expect(timeOf(`2026-11-20T11:59:59.${'9'.repeat(100)}Z`)).toBe(base + 999)
  })
  test('only times that exist are taken', () => {
    expect(timeOf('2024-02-29T00:00:00Z')).toBe(Date.UTC(2024, 1, 29))
    const impossible = [
      '2025-02-29T00:00:00Z',
      '2026-04-31T00:00:00Z',
      '2026-00-01T00:00:00Z',
      '2026-13-01T00:00:00Z',
      '2026-01-00T00:00:00Z',
      '2026-01-01T24:00:00Z',
      '2026-01-01T00:60:00Z',
      '2026-01-01T00:00:61Z',
      '2016-12-31T23:59:60Z',
      '2026-01-01T00:00:00+24:00',
      '2026-01-01T00:00:00+01:60',
    ]
    for (const time of impossible) expect(refusal({ time }, true), time).toEqual(['invalid_value', 'time'])
  })
  test('other spellings are refused', () => {
    const others = [
      '2026-11-20',
      '2026-11-20T11:00:00',
      '2026-11-20 11:00:00Z',
      '2026-11-20T11:00Z',
      '2026-11-20T11:00:00.Z',
      '2026-11-20T11:00:00+0100',
      ' 2026-11-20T11:00:00Z',
      '+002026-11-20T11:00:00Z',
      '２０２６-11-20T11:00:00Z',
      '2026-11-20T11:00:00Z\n',
      '',
      1_790_000_000,
      {},
    ]
    for (const time of others) expect(refusal({ time }, true), String(time)).toEqual(['invalid_value', 'time'])
  })
  test('up to five minutes ahead is taken, more is not', () => {
    expect(read({ time: new Date(NOW + 300_000).toISOString() }).ok).toBe(true)
    expect(refusal({ time: new Date(NOW + 300_001).toISOString() }, true)).toEqual(['event_in_future', 'time'])
  })
  test('more than 35 days ago needs the permission to backfill', () => {
    expect(read({ time: new Date(NOW - 35 * DAY).toISOString() }).ok).toBe(true)
    const older = { time: new Date(NOW - 35 * DAY - 1).toISOString() }
    expect(read(older)).toMatchObject({
      code: 'event_too_old',
      message: expect.stringContaining('billing:usage:backfill'),
    })
    expect(read(older, true).ok).toBe(true)
  })
  test('more than seven years ago is never taken', () => {
    expect(read({ time: '2019-11-20T12:00:00Z' }, true).ok).toBe(true)
    expect(refusal({ time: '2019-11-20T11:59:59.999Z' }, true)).toEqual(['event_too_old', 'time'])
    expect(refusal({ time: '0050-01-01T00:00:00Z' }, true)).toEqual(['event_too_old', 'time'])
  })
})
