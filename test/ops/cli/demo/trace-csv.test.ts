import fc from 'fast-check'
import { expect, test } from 'vitest'
import { demoTenantSlug, parseTimestampMs, parseTraceCsv, TRACE_HEADER } from '../../../../ops/cli/demo/trace-csv.ts'

const time = fc.date({
  min: new Date('0001-01-01T00:00:00Z'),
  max: new Date('9999-12-31T23:59:59.999Z'),
  noInvalidDate: true,
})
const count = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const row = fc.record({ time, context: count, generated: count, moreDigits: fc.stringMatching(/^\d{0,9}$/) })

test('every row comes back, whatever the line ends, byte order mark, date separator and digits beyond milliseconds', () => {
  const form = fc.record({
    newline: fc.constantFrom('\n', '\r\n'),
    final: fc.constantFrom('', '\n', '\r\n', '\n\n', '\r\n  \r\n'),
    mark: fc.constantFrom('', '\uFEFF'),
    separator: fc.constantFrom(' ', 'T'),
    zone: fc.constantFrom('', 'Z'),
  })
  fc.assert(
    fc.property(
      fc.array(row, { minLength: 1, maxLength: 30 }),
      form,
      (rows, { newline, final, mark, separator, zone }) => {
        const lines = rows.map(({ time, context, generated, moreDigits }) => {
          const stamp = time.toISOString().slice(0, -1).replace('T', separator)
          return `${stamp}${moreDigits}${zone},${context},${generated}`
        })
        const parsed = parseTraceCsv(`${mark}${[TRACE_HEADER, ...lines].join(newline)}${final}`)
        expect(parsed.badRows).toEqual([])
        expect(parsed.rows).toEqual(
          rows.map(({ time, context, generated }, rowIndex) => ({
            rowIndex,
            timeMs: time.getTime(),
            contextTokens: context,
            generatedTokens: generated,
          })),
        )
      },
    ),
  )
})

test('broken rows are named by file line, and the good ones keep their index', () => {
  const broken = fc.constantFrom(
    '',
    '   ',
    '2025-03-01 00:00:00',
    '2025-03-01 00:00:00,1',
    '2025-03-01 00:00:00,1,2,3',
    '2025-02-29 00:00:00,1,2',
    '2025-03-01 00:00:00,-1,2',
    '2025-03-01 00:00:00,1,2.0',
    '2025-03-01 00:00:00,1,9007199254740992',
    '2025-03-01 00:00:00, 1,2',
    TRACE_HEADER,
  )
  const line = fc.oneof(
    broken.map((text) => ({ text, good: false })),
    fc.constant({ text: '2025-03-01 00:00:00,1,2', good: true }),
  )
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), (lines) => {
      const all = [...lines, { text: '2025-03-01 00:00:00,1,2', good: true }]
      const { rows, badRows } = parseTraceCsv([TRACE_HEADER, ...all.map(({ text }) => text)].join('\r\n'))
      const indexes = (good: boolean) => all.flatMap((line, index) => (line.good === good ? [index] : []))
      expect(rows.map(({ rowIndex }) => rowIndex)).toEqual(indexes(true))
      expect(badRows.map(({ lineNumber }) => lineNumber)).toEqual(indexes(false).map((index) => index + 2))
    }),
  )
})

test('no text makes it throw anything but a sentence', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.boolean(), (text, headed) => {
      try {
        parseTraceCsv(headed ? `${TRACE_HEADER}\n${text}` : text)
      } catch (error) {
        expect((error as Error).message).toMatch(/^The trace.*\.$/s)
      }
    }),
  )
})

test.each([
  ['2023-11-16 18:15:46.6805900', '2023-11-16T18:15:46.680Z'],
  ['2023-11-16 18:15:46.9999999', '2023-11-16T18:15:46.999Z'],
  ['2023-11-16T18:15:46Z', '2023-11-16T18:15:46.000Z'],
  ['2023-11-16 18:15:46.5', '2023-11-16T18:15:46.500Z'],
  ['2024-02-29 23:59:59', '2024-02-29T23:59:59.000Z'],
])('%s is %s', (text, iso) => {
  expect(new Date(parseTimestampMs(text)!).toISOString()).toBe(iso)
})

test.each([
  '2023-02-29 00:00:00',
  '2023-02-30 00:00:00',
  '2023-13-01 00:00:00',
  '2023-00-01 00:00:00',
  '2023-01-01 24:00:00',
  '2023-01-01 23:59:60',
  '2023-01-01 00:00:00.',
  '2023-01-01',
  '2023-01-01 00:00:00+01:00',
  '23-01-01 00:00:00',
  '1700000000',
  '',
])('%j is no time', (text) => {
  expect(parseTimestampMs(text)).toBeUndefined()
})

test.each([
  ['2023-11-16 18:15:46,1', 'it has 2 columns instead of 3'],
  ['yesterday,1,2', 'TIMESTAMP "yesterday" is not a date and time'],
  ['2023-11-16 18:15:46,1.5,2', 'ContextTokens "1.5" is not a whole number from 0 to 2^53 - 1'],
  ['2023-11-16 18:15:46,1,-2', 'GeneratedTokens "-2" is not a whole number from 0 to 2^53 - 1'],
  ['', 'the line is empty'],
])('the reason for %j', (line, reason) => {
  const { badRows } = parseTraceCsv(`${TRACE_HEADER}\n${line}\n2023-11-16 18:15:46,1,2`)
  expect(badRows).toEqual([{ lineNumber: 2, reason }])
})

test('a file that is no trace is refused as a whole', () => {
  expect(() => parseTraceCsv('')).toThrow('The trace is empty.')
  expect(() => parseTraceCsv('\r\n\r\n')).toThrow('The trace is empty.')
  expect(() => parseTraceCsv(`${TRACE_HEADER}\r\n`)).toThrow('The trace has a header but no data rows.')
  expect(() => parseTraceCsv('2023-11-16 18:15:46,1,2')).toThrow(/first line must be TIMESTAMP/)
})

test('the tenant is the first 8 hex digits of the SHA-256', () => {
  expect(demoTenantSlug('abc')).toBe('demo-ba7816bf')
})
