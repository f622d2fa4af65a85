/** Where a difference to what was billed goes; each part is 0 or more but `pendingMinor`. */
export type Settlement = {
  /** All known now − all billed. */
  differenceMinor: bigint
  /** What the next invoice bills, or below 0 takes off what already waits for it. */
  pendingMinor: bigint
  /** What the invoices that billed it give back. */
  backMinor: bigint
}

/**
 * The difference rule: price(all known now) − Σ billed, whatever came in between and in whatever order. What the charge
 * costs now and what was billed both hold its true-up, so usage below a minimum differs by nothing. A negative difference
 * first takes back what still waits to be billed.
 */
export function settleDifference(
  nowMinor: bigint,
  billed: { linesMinor: bigint; adjustedMinor: bigint; waitingMinor: bigint },
): Settlement {
  const differenceMinor = nowMinor - billed.linesMinor - billed.adjustedMinor
  if (differenceMinor >= 0n) return { differenceMinor, pendingMinor: differenceMinor, backMinor: 0n }
  const waitingMinor = billed.waitingMinor > 0n ? billed.waitingMinor : 0n
  const takenMinor = waitingMinor < -differenceMinor ? waitingMinor : -differenceMinor
  return {
    differenceMinor,
    pendingMinor: takenMinor === 0n ? 0n : -takenMinor,
    backMinor: -differenceMinor - takenMinor,
  }
}
