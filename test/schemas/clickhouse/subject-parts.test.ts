import { expect, test } from 'vitest'
import { subjectParts } from '../../../schemas/clickhouse/subject-parts.ts'

/** Of the most text for their length: each character stands as two in a statement. */
const NASTY = Array.from({ length: 1_000 }, (_, n) => `${'\\'.repeat(128)}${"'".repeat(120)}${n}`)

const textOf = (part: readonly string[]) => `[${part.map((one) => `'${one.replace(/['\\]/g, '\\$&')}'`).join(',')}]`

test('the subjects of a statement are at most as many as told, and 128 KiB as text', () => {
  expect(subjectParts([])).toEqual([])
  const many = Array.from({ length: 2_001 }, (_, n) => `s${n}`)
  expect(subjectParts(many, 1_000).map((part) => part.length)).toEqual([1000, 1000, 1])
  expect(subjectParts(many)).toEqual([many])
  for (const subjects of [NASTY, NASTY.map((text) => text.replace(/[\\']/g, '€'))]) {
    const parts = subjectParts(subjects)
    expect(parts.flat()).toEqual(subjects)
    expect(parts.length).toBeGreaterThan(1)
    for (const part of parts) expect(Buffer.byteLength(textOf(part))).toBeLessThanOrEqual(128 * 1024)
  }
})
