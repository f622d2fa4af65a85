import { formatMoney, moneyAsQuantity, roundToMinor } from '../../../schemas/money.ts'
import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'
import type { Span } from '../unused.ts'
import type { CommitmentWindow } from './commitment-window.ts'

/**
 * What a charge of one period was brought to: `baseMinor` by its own price, before the commitment, and `amountMinor` what it
 * billed, overage and true-up included, before coupons. `window` is of the commitment that it draws down.
 */
export type Draw = {
  planId: string
  chargeKey: string
  window: Span
  period: Span
  baseMinor: bigint
  amountMinor: bigint
  /** Below 0: what other periods billed more than they cost together with it, and have to give back. */
  restMinor: bigint
  /** What of the commitment held, and until when the window was to be billed, as the subscription was then. */
  committedMinor: bigint
  servedUntilMs: number
  /** Of a void invoice: it draws nothing any more. */
  isVoid: boolean
  /** Of the subscription as it was rated; left out: as it is. */
  revision?: number
}
/** Of a charge of a period, what a commitment of several periods made of its amount. The amounts are money. */
export type CommitmentEntry = {
  type: 'commitment'
  commitment_amount: string
  overage_factor: string
  window_start: string
  window_end: string
  /** What other periods of the window came to by their own price, and what they billed. */
  drawn_before: string
  billed_before: string
  /** Up to the commitment, where that was settled before. */
  settled?: true
  amount: string
}
/** A charge of a period. */
type Drawing = Pick<Draw, 'planId' | 'chargeKey' | 'period'>

/** As far as a country may set its clocks, boundaries that are computed lie beside those that are stored. */
const CLOCKS_MS = 3 * 3_600_000

/** What the periods of a window are brought to by now, each by its latest draw, but for one. */
function otherPeriods(draws: readonly Draw[], of: Drawing, { startMs, endMs }: Span): Draw[] {
  const latest = new Map<number, Draw>()
  for (const draw of draws) {
    if (draw.planId !== of.planId || draw.chargeKey !== of.chargeKey) continue
    if (draw.isVoid) latest.delete(draw.period.startMs)
    else latest.set(draw.period.startMs, draw)
  }
  latest.delete(of.period.startMs)
  return [...latest.values()].filter(({ period }) => {
    const middleMs = (period.startMs + period.endMs) / 2
    return middleMs >= startMs && middleMs < endMs
  })
}

/** What a period was brought to last; undefined: nothing is billed of it. */
export function drawnBy(
  draws: readonly Draw[],
  of: { planId: string; chargeKey: string; period: Pick<Span, 'startMs'> },
): Draw | undefined {
  const last = draws.findLast(
    ({ planId, chargeKey, period }) =>
      planId === of.planId && chargeKey === of.chargeKey && period.startMs === of.period.startMs,
  )
  return last?.isVoid ? undefined : last
}

/** What a charge of a period costs under a commitment of several: its line, and what is missing to it at the end. */
export type Settled = { draw: Draw; entry: CommitmentEntry; lineMinor: bigint; missingMinor: bigint }

/**
 * What the periods of a window cost together, less what the others billed of it, in whatever order they are billed or billed
 * again: with M all they come to by their own prices and C the commitment, min(M, C) + max(M − C, 0) × factor, rounded once;
 * and no less than C from then on where the last time of the window is billed. So what all of them billed is always that,
 * but where a line would lie below what was used itself: that rest is given back where it was billed, by whoever bills what
 * comes late (late/). What a settled window billed more than it comes to, where its plan goes on after all, is paid ahead.
 */
export function settleDraw(
  of: Drawing & { baseMinor: bigint },
  window: CommitmentWindow,
  overageFactor: string | undefined,
  draws: readonly Draw[],
  currency: string,
): Settled {
  const { committedMinor, servedUntilMs, startMs, endMs } = window
  const others = otherPeriods(draws, of, window)
  const drawnMinor = others.reduce((sum, { baseMinor }) => sum + baseMinor, 0n)
  const billedMinor = others.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
  const factor = parseQuantity(overageFactor ?? '1')
  const wholeMinor = withOverage(drawnMinor + of.baseMinor, committedMinor, factor, currency)
  const isLast = endsBy(servedUntilMs, of.period)
  const settling = isLast ? [] : others.filter((one) => endsBy(one.servedUntilMs, one.period))
  const wasSettled = settling.some(({ period }) => endsBy(servedUntilMs, period))
  const lackMinor = committedMinor > wholeMinor ? committedMinor - wholeMinor : 0n
  const lineMinor = larger(
    wholeMinor + (wasSettled ? lackMinor : 0n) - billedMinor,
    of.baseMinor < 0n ? of.baseMinor : 0n,
  )
  const leftMinor = wholeMinor + (isLast || wasSettled ? lackMinor : 0n) - billedMinor - lineMinor
  const missingMinor = larger(leftMinor, 0n)
  const isPaidAhead = settling.length > 0 && !wasSettled
  const money = (minor: bigint) => formatMoney(minor, currency)
  const entry: CommitmentEntry = {
    type: 'commitment',
    commitment_amount: money(committedMinor),
    overage_factor: formatQuantity(factor),
    window_start: new Date(startMs).toISOString(),
    window_end: new Date(endMs).toISOString(),
    drawn_before: money(drawnMinor),
    billed_before: money(billedMinor),
    ...(wasSettled ? { settled: true } : {}),
    amount: money(lineMinor - of.baseMinor),
  }
  const amountMinor = lineMinor + missingMinor
  const restMinor = isPaidAhead ? 0n : leftMinor - missingMinor
  const kept = { window: { startMs, endMs }, amountMinor, restMinor, committedMinor, servedUntilMs, isVoid: false }
  return { draw: { ...of, ...kept }, entry, lineMinor, missingMinor }
}

function endsBy(servedUntilMs: number, { endMs }: Span): boolean {
  return servedUntilMs < endMs + CLOCKS_MS
}

function larger(one: bigint, other: bigint): bigint {
  return one > other ? one : other
}

/** min(M, C) + max(M − C, 0) × factor. */
function withOverage(
  allMinor: bigint,
  committedMinor: bigint,
  factor: ReturnType<typeof parseQuantity>,
  currency: string,
): bigint {
  if (allMinor <= committedMinor) return allMinor
  return committedMinor + roundToMinor(moneyAsQuantity(allMinor - committedMinor, currency).times(factor), currency)
}
