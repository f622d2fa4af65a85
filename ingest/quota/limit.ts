import { parseQuantity, type Quantity } from '../../schemas/quantity.ts'

/** A limit on a meter of one subject per window (UTC). Counters are integers of 10⁻⁶ of the meter's unit. */
export type QuotaLimit = { meter: string; period: 'day' | 'month'; limitMicro: bigint }

const MICRO = parseQuantity('1000000')

/** A drawn quantity, a number if it is whole, in micro-units, rounded up: never too little is drawn. */
export function toMicro(quantity: Quantity | number): bigint {
  if (typeof quantity === 'number') return BigInt(quantity) * 1_000_000n
  return BigInt(quantity.times(MICRO).ceil().toFixed(0))
}

/** A limit in micro-units, rounded down: never too much is allowed. */
export function toMicroFloor(quantity: Quantity): bigint {
  return BigInt(quantity.times(MICRO).floor().toFixed(0))
}

/** Micro-units, not negative, as a decimal string of whole units: 1500000n is "1.5". */
export function formatMicro(micro: bigint): string {
  const whole = micro / 1_000_000n
  const rest = micro % 1_000_000n
  if (rest === 0n) return String(whole)
  return `${whole}.${String(rest).padStart(6, '0').replace(/0+$/, '')}`
}

/** The window that a time lies in. */
export function windowOf(timeMs: number, period: 'day' | 'month'): { startMs: number; endMs: number } {
  const at = new Date(timeMs)
  const [year, month, day] = [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()]
  return period === 'day'
    ? { startMs: Date.UTC(year, month, day), endMs: Date.UTC(year, month, day + 1) }
    : { startMs: Date.UTC(year, month, 1), endMs: Date.UTC(year, month + 1, 1) }
}
