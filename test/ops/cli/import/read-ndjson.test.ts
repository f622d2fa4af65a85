import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { fileFacts } from '../../../../ops/cli/import/file-facts.ts'
import { withNumbers } from '../../../../ops/cli/import/numbers.ts'
import { openNdjson, parseLine } from '../../../../ops/cli/import/read-ndjson.ts'
import { numberText, type Row } from '../../../../ops/cli/import/row.ts'

const n = numberText

async function read(text: string | Buffer, afterRow = 0): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'tallyline-ndjson-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'x.ndjson')
  writeFileSync(file, text)
  const { lines } = await fileFacts(file)
  const rows: Row[] = []
  for await (const row of openNdjson(file, lines).rows(afterRow)) rows.push(row)
  return rows
}

test('a row is a line; its number is the line’s, empty lines are none, a byte order mark is no text', async () => {
  const text = '\uFEFF{"a":"1"}\r\n\n{"a":"\u2028é"}\n{"a":"last"}'
  expect(await read(text)).toEqual([
    { row: 1, cells: { a: '1' } },
    { row: 3, cells: { a: '\u2028é' } },
    { row: 4, cells: { a: 'last' } },
  ])
  expect(await read(text, 3)).toEqual([{ row: 4, cells: { a: 'last' } }])
})

test('lines longer than a piece of the file are whole', async () => {
  const long = 'x'.repeat(3_000_000)
  expect(await read(`{"a":"${long}"}\n{"a":"b"}\n`)).toEqual([
    { row: 1, cells: { a: long } },
    { row: 2, cells: { a: 'b' } },
  ])
})

test('numbers stay the text that they are', () => {
  expect(parseLine(1, '{"a":0.10,"b":[12345678901234567890,-1e3],"c":{"d":1.0}}')).toEqual({
    row: 1,
    cells: { a: n('0.10'), b: [n('12345678901234567890'), n('-1e3')], c: { d: n('1.0') } },
  })
})

test('text that looks like a number, or like the mark of one, stays text', () => {
  const cells = { a: '5', b: '\u0000n5', '\u0000sx': '\u0000s', 'x\\"1': 'say "2" \\' }
  expect(parseLine(1, JSON.stringify(cells))).toEqual({ row: 1, cells })
})

test('any JSON object of exact numbers comes out as JSON.parse would read it', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), (value) => {
      const text = JSON.stringify(value)
      const row = parseLine(1, text)
      if (!('cells' in row)) throw new Error(row.broken)
      expect(JSON.stringify(withNumbers(row.cells, undefined))).toBe(JSON.stringify(JSON.parse(text)))
    }),
  )
})

test.each(['{"a":01}', '{"a":1.}', '{"a":.5}', '{"a":-}', '{"a" 1}', '{"a":"x', '[1]', '5', '"a"', 'null', '{} {}'])(
  '%s is no row, and says why',
  (text) => {
    expect(parseLine(7, text)).toMatchObject({ row: 7, broken: expect.stringMatching(/^The line is no JSON/), text })
  },
)

test('a file of one endless line is told, not read', async () => {
  await expect(read(Buffer.alloc(11 * 1024 * 1024, 0x20))).rejects.toThrow('is it NDJSON?')
})
