import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { generatedTraceCsv } from '../../../../ops/cli/demo/generated-trace.ts'
import { parseTraceCsv } from '../../../../ops/cli/demo/trace-csv.ts'

const csv = generatedTraceCsv()
const { rows, badRows } = parseTraceCsv(csv)

test('it is the same text every time and everywhere', () => {
  expect(generatedTraceCsv()).toBe(csv)
  expect(createHash('sha256').update(csv).digest('hex')).toBe(
    '20843ab410426de77d49504eb8a0a3720a269c64fdc1d0ecec976e14bcd3dce8',
  )
})

test('it is 20,000 sound rows of March 2025 in order', () => {
  expect(badRows).toEqual([])
  expect(rows).toHaveLength(20_000)
  expect(rows[0]!.timeMs).toBeGreaterThanOrEqual(Date.UTC(2025, 2, 1))
  expect(rows.at(-1)!.timeMs).toBeLessThan(Date.UTC(2025, 3, 1))
  expect(rows.every((row, index) => index === 0 || rows[index - 1]!.timeMs <= row.timeMs)).toBe(true)
})

test('it looks like LLM traffic: days, bursts, long tails', () => {
  const at = (hour: number) => rows.filter(({ timeMs }) => new Date(timeMs).getUTCHours() === hour).length
  expect(at(14)).toBeGreaterThan(5 * at(3))
  const perMinute = new Map<number, number>()
  for (const { timeMs } of rows) {
    const minute = Math.floor(timeMs / 60_000)
    perMinute.set(minute, (perMinute.get(minute) ?? 0) + 1)
  }
  expect(Math.max(...perMinute.values())).toBeGreaterThan(20)
  for (const key of ['contextTokens', 'generatedTokens'] as const) {
    const sorted = rows.map((row) => row[key]).sort((a, b) => a - b)
    const mean = sorted.reduce((a, b) => a + b) / sorted.length
    expect(mean / sorted[sorted.length / 2]!).toBeGreaterThan(1.2)
    expect(sorted[0]).toBeGreaterThan(0)
  }
})
