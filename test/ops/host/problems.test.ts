import { expect, test } from 'vitest'
import { toProblem } from '../../../ops/host/problems.ts'

const thrown = (code: string, message = '') => Object.assign(new Error(message), { code })

test('a zero byte, which Postgres cannot hold, is the request’s fault', () => {
  expect(toProblem(thrown('22021')).code).toBe('invalid_request')
})

test('a query beyond its limits of time or memory says to ask for less', () => {
  for (const code of ['159', '241']) {
    expect(toProblem(thrown(code))).toMatchObject({ code: 'overloaded', message: expect.stringContaining('ask for') })
  }
})

test('a store that is away is unavailable, and what nobody foresaw keeps its message inside', () => {
  expect(toProblem(thrown('ECONNREFUSED')).code).toBe('unavailable')
  expect(toProblem(thrown('XX000', 'secret detail'))).toMatchObject({ code: 'internal' })
  expect(toProblem(thrown('XX000', 'secret detail')).message).not.toContain('secret')
})
