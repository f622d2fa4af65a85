/**
 * Tax amounts once more, written otherwise, for cross-checks: shares of a unit by fractions reduced to lowest terms, and
 * the rounded sum handed out unit by unit to whoever lacks most. It knows nothing of the code under test.
 */
export type Share = { top: bigint; bottom: bigint }

/** `millionths` of a percent. */
export function exactTax(amountMinor: bigint, millionths: bigint, inclusive: boolean): Share {
  return inclusive
    ? lowest(amountMinor * millionths, 100_000_000n + millionths)
    : lowest(amountMinor * millionths, 100_000_000n)
}

/** Half-up away from zero, by the digit behind the point. */
export function nearest({ top, bottom }: Share): bigint {
  const size = top < 0n ? -top : top
  const whole = size / bottom
  const up = (size - whole * bottom) * 10n >= bottom * 5n ? whole + 1n : whole
  return top < 0n ? -up : up
}

export function perLine(shares: readonly Share[]): bigint[] {
  return shares.map(nearest)
}

export function perInvoice(shares: readonly Share[]): bigint[] {
  const total = shares.reduce(plus, { top: 0n, bottom: 1n })
  const sign = total.top < 0n ? -1n : 1n
  const sizes = shares.map(({ top, bottom }) => ({ top: top * sign, bottom }))
  const given = sizes.map(({ top, bottom }) => (top >= 0n ? top / bottom : -((-top + bottom - 1n) / bottom)))
  const goal = nearest(total) * sign
  while (given.reduce((sum, one) => sum + one, 0n) < goal) {
    const lacks = sizes.map((size, index) => plus(size, { top: -(given[index] ?? 0n), bottom: 1n }))
    const most = lacks.reduce((best, one, index) => (isMore(one, lacks[best]) ? index : best), 0)
    given[most] = (given[most] ?? 0n) + 1n
  }
  return given.map((one) => one * sign)
}

export function plus(a: Share, b: Share): Share {
  return lowest(a.top * b.bottom + b.top * a.bottom, a.bottom * b.bottom)
}

function isMore(a: Share, b: Share | undefined): boolean {
  return b === undefined || a.top * b.bottom > b.top * a.bottom
}

function lowest(top: bigint, bottom: bigint): Share {
  let [a, b] = [top < 0n ? -top : top, bottom]
  while (b !== 0n) [a, b] = [b, a % b]
  return a === 0n ? { top, bottom } : { top: top / a, bottom: bottom / a }
}
