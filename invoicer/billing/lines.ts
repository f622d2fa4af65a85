import { Problem } from '../../schemas/http/problem.ts'
import { formatMoney, moneyAsQuantity, roundToMinor } from '../../schemas/money.ts'
import { formatQuantity, isWireQuantity, ZERO } from '../../schemas/quantity.ts'
import type { Period } from '../../schemas/time/period.ts'
import type { Charge, Plan } from '../agreements/plans/plan.ts'
import type { CommitmentWindow } from './commitments/commitment-window.ts'
import { type CommitmentEntry, type Draw, settleDraw } from './commitments/draw.ts'
import { usedBy } from './counted.ts'
import type { CouponEntry } from './discounts/discount-parts.ts'
import type { FeeDifferenceEntry } from './fees/billed-fee.ts'
import { type Held, type QuantityEntry, rateRuns, runsOf } from './fees/held-quantities.ts'
import type { AdjustmentEntry, OneTimeEntry, PrepaidCreditEntry } from './items/invoice-item.ts'
import type { ProgressEntry } from './progressive/progress.ts'
import {
  isCut,
  type Parts,
  type ProrationEntry,
  proratedMinor,
  prorationCut,
  prorationEntry,
  settled,
  shownAmount,
  tierFlats,
} from './proration.ts'
import { atMost, bounded, discounted, leastOf, trueUpMinor } from './rating/bounds.ts'
import type { BreakdownEntry } from './rating/breakdown.ts'
import type { Price } from './rating/price.ts'
import { priceDecimal } from './rating/price-decimal.ts'
import { rateCharge, rateIncluded } from './rating/rate.ts'
import type { LineTax } from './tax/tax.ts'
import type { ProrationBasis, Span } from './unused.ts'
import type { MeteredUsage } from './usage.ts'

/** What a line lacks to the minimum of its charge, or all since `window_start` to their commitment. */
export type TrueUpEntry = { type: 'true_up'; minimum_amount: string; amount: string; window_start?: string }
export type LineBreakdown = (
  | BreakdownEntry
  | ProrationEntry
  | QuantityEntry
  | TrueUpEntry
  | FeeDifferenceEntry
  | OneTimeEntry
  | PrepaidCreditEntry
  | AdjustmentEntry
  | CouponEntry
  | ProgressEntry
  | CommitmentEntry
)[]

/**
 * One charge makes one line, and where that is below the charge's minimum a true-up line behind it. `usage` is what the
 * line was made from; a flat price needs none, and a true-up was made from the line before it. `planId` says whose
 * charge it is, `period` what it was served for: its own, which need not be that of the invoice.
 */
export type Line = {
  planId: string
  period: Span
  chargeKey: string
  description: string
  meter: string | null
  amountMinor: bigint
  breakdown: LineBreakdown
  usage: MeteredUsage | null
  /** None: not yet; null: it corrects what was not taxed, and is not either. */
  tax?: LineTax | null
  /** What is sold, where its tax is another one. */
  taxClass?: string
  /** When what is billed was agreed, if it is a one-time item. */
  agreedAtMs?: number
  /** Who billed what is corrected, if it is a correction and that had a legal entity. */
  correctsOf?: string
  /** What waited for the invoice, if the line is made from that. */
  itemId?: string
  /**
   * Of which period it bills a fee in advance, or gives one back, if it does. `changeMinor`: by how much the fee is another
   * one, where that is not the amount, because of what is given back discounts had never been paid.
   */
  fee?: Span & { changeMinor?: bigint }
  /** What its charge is brought to, with its true-up, where it draws a commitment of several periods down. */
  draw?: Draw
  /** Which discount made it, and which line of the invoice it lowers, by its place. */
  discount?: { id: string; lowers: number }
}
export type Totals = { subtotalMinor: bigint; taxMinor: bigint; totalMinor: bigint; amountDueMinor: bigint }
/** `legalEntityId`: who issues it, of whom the numbers are; none: the tenant itself. */
export type Draft = Totals & { lines: Line[]; legalEntityId?: string }

/** What Postgres keeps in a bigint. */
const MAX_MINOR = 2n ** 63n - 1n

/**
 * One plan's share of a period: the parts it is charged for, rated together, and what its meters counted in them for a
 * charge. Days are those of the customer's zone. `held`: which quantities its fees have in what of the parts; left out: their
 * defaults. `windows`: of its charges that have a commitment of several periods; `draws`: what those drew so far.
 */
export type Share = {
  plan: Plan<Price>
  parts: Parts
  usageOf: UsageOf
  zone: string
  held?: readonly Held[]
} & Committed
/** By the key of the charge. */
export type Committed = { windows?: ReadonlyMap<string, CommitmentWindow>; draws?: readonly Draw[] }
type UsageOf = (meter: string, chargeKey: string) => MeteredUsage

/** The invoice of one period on one plan. @throws Problem as `draftShares`. */
export function draftInvoice(plan: Plan<Price>, period: Period, usageOf: UsageOf, zone: string): Draft {
  return draftShares([{ plan, parts: [period], usageOf, zone }])
}

/**
 * What is billed of a period when it is over: every charge of its plans but for fees in advance, each by its own price,
 * tiers and included units from zero, and the totals.
 * @throws Problem calculation_failed when the amounts cannot stand on an invoice; its subscription is then parked.
 */
export function draftShares(shares: readonly Share[]): Draft {
  const draft = untaxedDraft(shares.flatMap((share) => linesOf(share, (charge) => !isAhead(share.plan, charge))))
  checkDraft(draft)
  return draft
}

/** Fees of a period that its plans bill in advance. */
export function linesAhead(shares: readonly Share[]): Line[] {
  return shares.flatMap((share) => linesOf(share, (charge) => isAhead(share.plan, charge)))
}

function isAhead({ fees }: Plan<Price>, { meter }: Charge<Price>): boolean {
  return fees === 'in_advance' && meter === null
}

/** Lines with their totals, before tax. */
export function untaxedDraft(lines: Line[]): Draft {
  const totalMinor = lines.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
  return { lines, subtotalMinor: totalMinor, taxMinor: 0n, totalMinor, amountDueMinor: totalMinor }
}

/** Every wanted charge of the plan in its order. */
function linesOf(share: Share, isWanted: (charge: Charge<Price>) => boolean): Line[] {
  const { plan, parts, usageOf, zone, held } = share
  const lines: Line[] = []
  const basis: ProrationBasis = { unit: plan.prorationBasis, zone }
  const period = around(parts)
  const heldParts = held ?? parts.map((part) => ({ part }))
  for (const charge of plan.charges) {
    if (!isWanted(charge)) continue
    const usage = charge.meter === null ? null : usageOf(charge.meter, charge.key)
    const runs = runsOf(charge, heldParts)
    const { amountMinor, breakdown } =
      runs === undefined
        ? rateLine(charge, usage, parts, basis, plan.currency)
        : rateRuns(charge, runs, basis, plan.currency)
    const { key: chargeKey, name: description, meter } = charge
    const line: Line = { planId: plan.id, period, chargeKey, description, meter, amountMinor, breakdown, usage }
    if (charge.taxClass !== undefined) line.taxClass = charge.taxClass
    const window = share.windows?.get(charge.key)
    if (window !== undefined) {
      lines.push(...committedLines(charge, line, window, share.draws ?? [], plan.currency))
      continue
    }
    lines.push(line)
    if (leastOf(charge.price) === undefined) continue
    const isByDifference = runs === undefined && charge.price.model === 'flat'
    const missing = trueUpLine(charge, line, parts, { ...basis, isByDifference }, plan.currency)
    if (missing !== undefined) lines.push(missing)
  }
  return lines
}

/** A draft with other lines before its own, before tax. @throws Problem as `draftShares`. */
export function withLinesBefore(lines: readonly Line[], draft: Draft): Draft {
  if (lines.length === 0) return draft
  const answer = untaxedDraft([...lines, ...draft.lines])
  checkDraft(answer)
  return answer
}

/** The invariants of an invoice (design §4.6), checked on what will be stored. */
export function checkDraft(draft: Draft): void {
  const sumMinor = draft.lines.reduce((sum, line) => sum + line.amountMinor, 0n)
  if (sumMinor !== draft.subtotalMinor || draft.subtotalMinor + draft.taxMinor !== draft.totalMinor) {
    throw new Problem('calculation_failed', `Lines of ${sumMinor} and a total of ${draft.totalMinor} differ.`)
  }
  const isTooLarge = (minor: bigint) => minor > MAX_MINOR || minor < -MAX_MINOR
  if (isTooLarge(draft.totalMinor) || draft.lines.some(({ amountMinor }) => isTooLarge(amountMinor))) {
    throw new Problem('calculation_failed', 'An amount is too large to be stored.')
  }
  // The digits of a quantity on the wire are those of its numeric(38, 12).
  const endless = draft.lines.find(({ usage }) => usage !== null && !isWireQuantity(usage.quantity))
  if (endless !== undefined) {
    throw new Problem(
      'calculation_failed',
      `The quantity of charge ${JSON.stringify(endless.chargeKey)} has more digits than can be stored.`,
    )
  }
}

/**
 * The one rounding of a line. A flat price is prorated where the period is cut; usage never is, but the flat amounts of
 * its tiers are. Discount and maximum come after that.
 */
function rateLine(
  charge: Charge<Price>,
  usage: MeteredUsage | null,
  parts: Parts,
  basis: ProrationBasis,
  currency: string,
): { amountMinor: bigint; breakdown: LineBreakdown } {
  const { price } = charge
  const quantity = usage?.quantity ?? ZERO
  const used = usage === null ? undefined : usedBy(price, usage)
  if (!isCut(parts)) return rateCharge(price, quantity, currency, used)
  const rated = rateIncluded(price, quantity, used)
  const isFlat = price.model === 'flat'
  const flats = isFlat ? rated.exact : tierFlats(rated.breakdown)
  const shown = flats.isZero() && !isFlat ? [] : [prorationEntry(flats, parts, basis)]
  // The commitment is rounded as its true-up is.
  const { exact, entries } = bounded(price, rated.exact.plus(prorationCut(flats, parts, basis)), shownAmount, (whole) =>
    moneyAsQuantity(proratedMinor(whole, parts, basis, currency), currency),
  )
  const breakdown = [...rated.breakdown, ...shown, ...entries]
  if (!isFlat) return { amountMinor: roundToMinor(settled(exact), currency), breakdown }
  // By difference, so that the parts of a period sum to the whole.
  const partMinor = proratedMinor(discounted(price, rated.exact), parts, basis, currency)
  return { amountMinor: atMost(price.maximum_amount, partMinor, currency), breakdown }
}

/** Minimum − line, the minimum prorated where the period is cut; undefined where nothing is missing. */
function trueUpLine(
  { name, price }: Charge<Price>,
  line: Line,
  parts: Parts,
  { isByDifference, ...basis }: ProrationBasis & { isByDifference: boolean },
  currency: string,
): Line | undefined {
  const minimum = leastOf(price) ?? ZERO
  const minimumMinor = isCut(parts) ? proratedMinor(minimum, parts, basis, currency) : roundToMinor(minimum, currency)
  // Of a fee below its minimum both are parts by difference: where the line's is the larger by a cent, another part's is not.
  const fee = isByDifference && price.model === 'flat' ? priceDecimal(price.amount).value : undefined
  const isBelow = fee !== undefined && discounted(price, fee).lessThan(minimum)
  const amountMinor = isBelow ? minimumMinor - line.amountMinor : trueUpMinor(minimumMinor, line.amountMinor)
  if (amountMinor === 0n) return undefined
  const missing = formatQuantity(minimum.minus(moneyAsQuantity(line.amountMinor, currency)))
  const entry: TrueUpEntry = { type: 'true_up', minimum_amount: formatQuantity(minimum), amount: missing }
  const breakdown = isCut(parts) ? [entry, prorationEntry(minimum, parts, basis)] : [entry]
  return { ...line, description: `${name} (minimum)`, amountMinor, breakdown, usage: null }
}

/** The line as the commitment of its window has it, and what is missing to that where the window ends. */
function committedLines(
  { name, price }: Charge<Price>,
  line: Line,
  window: CommitmentWindow,
  draws: readonly Draw[],
  currency: string,
): Line[] {
  const { planId, chargeKey, period, amountMinor: baseMinor } = line
  const of = { planId, chargeKey, period, baseMinor }
  const { draw, entry, lineMinor, missingMinor } = settleDraw(of, window, price.overage_factor, draws, currency)
  const own: Line = { ...line, amountMinor: lineMinor, breakdown: [...line.breakdown, entry], draw }
  if (missingMinor === 0n) return [own]
  const { commitment_amount: minimum_amount, window_start } = entry
  const missing = { minimum_amount, amount: formatMoney(missingMinor, currency), window_start }
  const breakdown: LineBreakdown = [{ type: 'true_up', ...missing }]
  return [own, { ...line, description: `${name} (commitment)`, amountMinor: missingMinor, breakdown, usage: null }]
}

/** From the first part's start to the last one's end. */
function around(parts: Parts): Span {
  const [{ startMs, endMs }] = parts
  return { startMs, endMs: parts.at(-1)?.endMs ?? endMs }
}
