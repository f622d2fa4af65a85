import { expect, test } from 'vitest'
import { parseTraceCsv } from '../../../../ops/cli/demo/trace-csv.ts'
import { expectedDemo, shapedTrace } from './expected.ts'

test('the calculation gives what a person gets on three rows in two months', () => {
  const csv = [
    'TIMESTAMP,ContextTokens,GeneratedTokens',
    '2024-12-31 23:59:59.9999999,1000000,100000',
    '2025-01-01 00:00:00.0000000,5000,200000',
    ...Array(8).fill('2025-01-01 00:00:00.0000000,0,0'),
    '2025-01-31 23:59:59.0000000,1,333',
  ].join('\r\n')
  const { events, total, invoices } = expectedDemo(csv)
  expect(invoices['customer-0']).toEqual({
    events: 2,
    context_tokens: 1_000_001,
    generated_tokens: 100_333,
    lines: ['20.00', '3.00', '1.50', '20.00', '0.00', '0.00'],
    total: '44.50',
  })
  // 5,000 × 0.000003 = 0.015 rounds up; 100,000 × 0.000015 + 100,000 × 0.000012 = 2.70.
  expect(invoices['customer-1']?.lines).toEqual(['20.00', '0.00', '0.00', '20.00', '0.02', '2.70'])
  expect({ events, total }).toEqual({ events: 11, total: '407.22' })
})

test('a shaped trace depends on its seed alone and has the form of the public one', () => {
  const csv = shapedTrace(7)
  expect(shapedTrace(7)).toBe(csv)
  expect(shapedTrace(8)).not.toBe(csv)
  expect(csv.split('\r\n')[1]).toMatch(/^2023-11-16 \d\d:\d\d:\d\d\.\d{7},\d+,\d+$/)
  expect(csv.endsWith('\n')).toBe(false)
  const { rows, badRows } = parseTraceCsv(csv)
  expect(badRows).toEqual([])
  const distinct = new Set(csv.split('\r\n').slice(1)).size
  expect(rows.length).not.toBe(19_366)
  expect(distinct).toBeLessThan(rows.length)
  expect(distinct).toBeLessThan(19_366)
})

test('a shaped trace can reach over months', () => {
  const csv = shapedTrace(3, { rows: 200, firstTimeMs: Date.UTC(2024, 10, 20), spanMs: 60 * 86_400_000 })
  expect(expectedDemo(csv).invoices['customer-9']?.lines).toHaveLength(9)
})
