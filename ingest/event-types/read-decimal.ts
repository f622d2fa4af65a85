import type { Report } from './problems.ts'
import type { DecimalSchema } from './schema.ts'

/** Quantities are Decimal(38, 12): 26 digits before the point and 12 after it. */
const MOST_WHOLE_DIGITS = 26
const MOST_FRACTION_DIGITS = 12

/** Reads bytes with a logical type. Avro ignores a decimal that is not well formed; we cannot, there is no bytes. */
export function readDecimal(raw: Record<string, unknown>, path: string, report: Report): DecimalSchema | undefined {
  const { logicalType, precision, scale = 0 } = raw
  if (logicalType !== 'decimal') {
    report(`${path}.logicalType`, 'must be decimal on bytes; JSON has no other bytes')
    return undefined
  }
  if (!isDigits(precision) || precision === 0) {
    report(`${path}.precision`, `must be a whole number from 1 to ${MOST_WHOLE_DIGITS + MOST_FRACTION_DIGITS}`)
    return undefined
  }
  if (!isDigits(scale) || scale > precision || scale > MOST_FRACTION_DIGITS) {
    report(`${path}.scale`, `must be a whole number from 0 to ${Math.min(precision, MOST_FRACTION_DIGITS)}`)
    return undefined
  }
  if (precision - scale > MOST_WHOLE_DIGITS) {
    report(
      `${path}.precision`,
      `leaves more than ${MOST_WHOLE_DIGITS} digits before the point; lower it or raise the scale`,
    )
    return undefined
  }
  return { kind: 'decimal', precision, scale }
}

function isDigits(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 38
}
