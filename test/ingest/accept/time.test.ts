import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readTime } from '../../../ingest/accept/time.ts'

const anyDate = fc.date({
  min: new Date('0001-01-01T00:00:00Z'),
  max: new Date('9999-12-31T23:59:59Z'),
  noInvalidDate: true,
})

test('what toISOString writes is the time it was', () => {
  fc.assert(
    fc.property(anyDate, (date) => {
      expect(readTime(date.toISOString())).toEqual({ ms: date.getTime() })
    }),
  )
})

test.each(['    -01-01T00:00:00.000Z', '2026-01-01T00:00:00.0x0Z', '2026-0a-01T00:00:00.000Z'])(
  '%j has the length of a time and is none',
  (text) => {
    expect(readTime(text)).toHaveProperty('message')
  },
)

test('the quick form means what the full one means, also where it is wrong', () => {
  const piece = (most: number, width: number) =>
    fc.oneof(
      fc.nat(most).map((value) => String(value).padStart(width, '0').slice(0, width)),
      fc.string({ minLength: width, maxLength: width }),
    )
  const text = fc
    .tuple(piece(9_999, 4), piece(13, 2), piece(32, 2), piece(25, 2), piece(61, 2), piece(61, 2), piece(999, 3))
    .map(([year, month, day, hour, minute, second, ms]) => `${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}`)
  fc.assert(
    fc.property(text, (time) => {
      expect(readTime(`${time}Z`)).toEqual(readTime(`${time}+00:00`))
    }),
  )
})

test('of a minute that was read before, the rest is still checked', () => {
  const minute = '2026-02-28T23:59:'
  expect(readTime(`${minute}00.000Z`)).toEqual({ ms: Date.UTC(2026, 1, 28, 23, 59) })
  expect(readTime(`${minute}59.999Z`)).toEqual({ ms: Date.UTC(2026, 1, 28, 23, 59, 59, 999) })
  for (const rest of ['60.000Z', '61.000Z', '0x.000Z', '00.0x0Z', '00.000z ', '00,000Z', '00.000+'])
    expect(readTime(minute + rest)).toHaveProperty('message')
  expect(readTime('2026-02-29T23:59:00.000Z')).toHaveProperty('message')
  expect(readTime('2026-02-28T23:58:00.000Z')).toEqual({ ms: Date.UTC(2026, 1, 28, 23, 58) })
})
