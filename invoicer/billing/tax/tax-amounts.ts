import { Problem } from '../../../schemas/http/problem.ts'
import { isQuantityText, parseQuantity } from '../../../schemas/quantity.ts'
import type { TaxSettings } from '../../agreements/entities/legal-entity.ts'

/**
 * An amount and its rate, the tax of which is inside the amount or comes on top. What lowers another amount says which, by
 * its place, and has that one's rate.
 */
export type Taxable = { amountMinor: bigint; ratePercent: string; inclusive: boolean; lowers?: number | undefined }

/** A rate in millionths of a percent. */
const MILLIONTHS = 1_000_000
const WHOLE = 100n * BigInt(MILLIONTHS)

/** An exact tax in minor units; the denominator is above 0. */
type Fraction = { numerator: bigint; denominator: bigint }

/**
 * The tax of each amount, in their order. Per line each is rounded, half-up away from zero. Per invoice their exact sum
 * is rounded once, and split by largest remainder, ties to the earlier amount, so that no part is off by a whole unit.
 * A tax that is inside the amount is rate ÷ (100 % + rate) of it. An amount and what lowers it are one taxable amount:
 * each that lowers it has the tax of what is then left less the tax of what was.
 */
export function taxAmounts(lines: readonly Taxable[], rounding: TaxSettings['rounding']): bigint[] {
  const exact = lines.map(({ amountMinor, ratePercent, inclusive }): Fraction => {
    const rate = millionthsOf(ratePercent)
    return { numerator: amountMinor * rate, denominator: inclusive ? WHOLE + rate : WHOLE }
  })
  const roundedOf = (parts: readonly Fraction[]) =>
    rounding === 'per_line' ? parts.map(rounded) : roundedTogether(parts)
  return lines.some(({ lowers }) => lowers !== undefined) ? lowered(lines, exact, roundedOf) : roundedOf(exact)
}

/**
 * What lowers an amount takes off the tax of what was left before it less that of what is left behind it; the amount has
 * the tax of what is left in the end, and what was taken off it.
 */
function lowered(
  lines: readonly Taxable[],
  exact: readonly Fraction[],
  roundedOf: (parts: readonly Fraction[]) => bigint[],
): bigint[] {
  const left = [...exact]
  const taxes = lines.map(() => 0n)
  for (const [place, { lowers }] of lines.entries()) {
    const before = lowers === undefined ? undefined : left[lowers]
    if (lowers === undefined || before === undefined) continue
    const after = { ...before, numerator: before.numerator + (exact[place]?.numerator ?? 0n) }
    const tax = rounded(after) - rounded(before)
    left[lowers] = after
    taxes[place] = tax
    taxes[lowers] = (taxes[lowers] ?? 0n) - tax
  }
  const isLeft = (_: unknown, place: number) => lines[place]?.lowers === undefined
  const taxesLeft = roundedOf(left.filter(isLeft))
  return taxes.map((tax, place) => (isLeft(tax, place) ? tax + (taxesLeft.shift() ?? 0n) : tax))
}

const known = new Map<string, bigint>()

/** Rates come in few texts, and many times each. */
function millionthsOf(ratePercent: string): bigint {
  const found = known.get(ratePercent)
  if (found !== undefined) return found
  const millionths = isQuantityText(ratePercent) ? parseQuantity(ratePercent).times(MILLIONTHS) : undefined
  if (millionths === undefined || !millionths.isInteger() || millionths.isNegative()) {
    throw new Problem('calculation_failed', `${JSON.stringify(ratePercent)} is not a tax rate.`)
  }
  const rate = BigInt(millionths.toFixed(0))
  if (known.size < 1_000) known.set(ratePercent, rate)
  return rate
}

function rounded({ numerator, denominator }: Fraction): bigint {
  if (numerator < 0n) return -rounded({ numerator: -numerator, denominator })
  return (2n * numerator + denominator) / (2n * denominator)
}

function roundedTogether(exact: readonly Fraction[]): bigint[] {
  const denominator = [...new Set(exact.map((one) => one.denominator))].reduce((product, one) => product * one, 1n)
  const numerators = exact.map((one) => one.numerator * (denominator / one.denominator))
  const sum = numerators.reduce((total, numerator) => total + numerator, 0n)
  // A sum below zero mirrors its opposite, so that a reversal takes back from each line what it was charged.
  if (sum < 0n)
    return split(
      numerators.map((numerator) => -numerator),
      denominator,
      -sum,
    ).map((part) => -part)
  return split(numerators, denominator, sum)
}

function split(numerators: readonly bigint[], denominator: bigint, sum: bigint): bigint[] {
  const parts = numerators.map((numerator, index) => {
    const remainder = ((numerator % denominator) + denominator) % denominator
    return { index, floor: (numerator - remainder) / denominator, remainder }
  })
  const missing = rounded({ numerator: sum, denominator }) - parts.reduce((total, { floor }) => total + floor, 0n)
  const byRemainder = [...parts].sort((a, b) => Number(b.remainder > a.remainder) - Number(b.remainder < a.remainder))
  const raised = new Set(byRemainder.slice(0, Number(missing)).map(({ index }) => index))
  return parts.map(({ index, floor }) => floor + (raised.has(index) ? 1n : 0n))
}
