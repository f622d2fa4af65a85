import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { retryAfterMs, retryDelayMs } from '../../sdk/typescript/src/backoff.ts'
import { readAnswer } from '../../sdk/typescript/src/read-answer.ts'

const read = (status: number, body?: unknown, retryAfter: string | null = null) =>
  readAnswer({ status, body, retryAfter }, 2, 0)

/** WIRE.md, "Answers". */
describe('what an answer means', () => {
  test.each([202, 207, 400, 429, 503])('outcomes count whatever the status: %s', (status) => {
    const list = [
      { index: 1, outcome: 'rejected', code: 'unknown_type', path: 'type', message: 'register it' },
      { index: 0, outcome: 'failed', retryable: true },
    ]
    expect(read(status, { outcomes: list })).toEqual({
      kind: 'outcomes',
      verdicts: [{ kind: 'again' }, { kind: 'dead', code: 'unknown_type', path: 'type', message: 'register it' }],
      waitMs: undefined,
    })
  })

  test('an event without an outcome is sent again, and an index that was not sent is ignored', () => {
    const list = [{ index: 7, outcome: 'accepted' }, 'nonsense', { outcome: 'accepted' }]
    expect(read(202, { outcomes: list })).toMatchObject({ verdicts: [{ kind: 'again' }, { kind: 'again' }] })
  })

  test('a failure that is final, the quota, and an outcome of a later version end the event', () => {
    const list = [
      { index: 0, outcome: 'failed', retryable: false, message: 'no' },
      { index: 1, outcome: 'postponed' },
    ]
    expect(read(202, { outcomes: list })).toMatchObject({
      verdicts: [
        { kind: 'dead', code: 'failed' },
        { kind: 'dead', code: 'postponed' },
      ],
    })
    expect(read(429, { outcomes: [{ index: 0, outcome: 'quota_exceeded' }] })).toMatchObject({
      verdicts: [{ kind: 'dead', code: 'quota_exceeded' }, { kind: 'again' }],
    })
  })

  test.each([408, 425, 429, 500, 502, 503, 504, 200, 202, 204])('%s without outcomes: later', (status) => {
    expect(read(status)).toMatchObject({ kind: 'again' })
  })

  test('no answer: later', () => {
    const answer = readAnswer({ status: 0, message: 'connect ECONNREFUSED' }, 2, 0)
    expect(answer).toEqual({ kind: 'again', reason: 'connect ECONNREFUSED', waitMs: undefined })
  })

  test('a batch that is too large, or that the server says it cannot use: in halves', () => {
    expect(read(413, { code: 'body_too_large', detail: 'fewer' })).toEqual({
      kind: 'split',
      code: 'body_too_large',
      message: 'fewer',
      tooLarge: true,
    })
    expect(read(413)).toMatchObject({ kind: 'split', code: 'http_413', tooLarge: true })
    for (const code of ['invalid_json', 'invalid_request', 'invalid_encoding']) {
      expect(read(400, { code })).toMatchObject({ kind: 'split', code, tooLarge: false })
    }
  })

  test.each([301, 400, 401, 403, 404, 405, 415])('%s: the request is not wanted', (status) => {
    expect(read(status, { code: 'named', detail: 'do this' }, '7')).toEqual({
      kind: 'refused',
      code: 'named',
      message: 'do this',
      waitMs: 7_000,
    })
    expect(read(status)).toMatchObject({ kind: 'refused', code: `http_${status}`, waitMs: undefined })
  })
})

describe('waiting', () => {
  test('Retry-After is seconds or a date, at most an hour', () => {
    const now = Date.parse('2026-11-21T12:00:00Z')
    expect(retryAfterMs('2', now)).toBe(2_000)
    expect(retryAfterMs('Sat, 21 Nov 2026 12:00:05 GMT', now)).toBe(5_000)
    expect(retryAfterMs('Sat, 21 Nov 2026 11:00:00 GMT', now)).toBe(0)
    expect(retryAfterMs('100000', now)).toBe(3_600_000)
    expect(retryAfterMs('soon', now)).toBeUndefined()
    expect(retryAfterMs(null, now)).toBeUndefined()
    expect(retryAfterMs('', now)).toBeUndefined()
  })

  test('full jitter lies between nothing and the doubled wait, and never beyond the longest', () => {
    fc.assert(
      fc.property(fc.nat(2_000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, drawn) => {
        const delay = retryDelayMs(attempt, 200, 30_000, () => drawn)
        expect(delay).toBeGreaterThanOrEqual(0)
        expect(delay).toBeLessThanOrEqual(Math.min(30_000, 200 * 2 ** attempt))
      }),
    )
    expect(retryDelayMs(3, 200, 30_000, () => 0.5)).toBe(800)
  })
})
