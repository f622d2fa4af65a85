import { currencyExponent, formatMoney, moneyAsQuantity, roundToMinorOfAnySize } from '../../../schemas/money.ts'
import { parseSum, ZERO } from '../../../schemas/quantity.ts'
import type { CommitmentEntry } from '../commitments/draw.ts'
import type { FeeDifferenceEntry } from '../fees/billed-fee.ts'
import type { QuantityEntry } from '../fees/held-quantities.ts'
import type { AdjustmentEntry, OneTimeEntry, PrepaidCreditEntry } from '../items/invoice-item.ts'
import type { LineBreakdown, TrueUpEntry } from '../lines.ts'
import type { ProgressEntry } from '../progressive/progress.ts'
import { type Parts, type ProrationEntry, settled, tierFlats } from '../proration.ts'
import type { BoundEntry } from '../rating/breakdown.ts'
import { lengthOf, type ProrationBasis, unusedMinor } from '../unused.ts'
import { couponSteps } from './coupon-steps.ts'
import { type Chain, type ExplainNode, step, textOf } from './node.ts'
import { isModelEntry, pricePart } from './price-parts.ts'

/** A line as it is stored, and what its proration refers to, as far as that is known. */
export type LineToExplain = {
  description: string
  amountMinor: bigint
  currency: string
  breakdown: LineBreakdown
  usage: { meter: string; aggregation: string; quantity: string; events: number; knownBeforeMs: number } | null
  startMs: number
  endMs: number
  proration: { parts: Parts; basis: ProrationBasis } | null
}

/** One fee. */
const START: Chain = { nodes: [], exact: ZERO.plus(1), text: '1' }

/**
 * How a line came to its amount, from what is stored with it: events → meter → price → proration, discount, maximum →
 * rounding. Each step takes what the one before it gave, and the last one gives the amount.
 */
export function explainLine(line: LineToExplain): ExplainNode {
  const [first] = line.breakdown
  const chain = ending(line, first === undefined ? START : chainOf(line, first))
  const output = chain.text
  const input = chain.nodes[0]?.input ?? output
  return { label: line.description, input, rule: 'step by step', output, parts: chain.nodes }
}

function chainOf(line: LineToExplain, first: LineBreakdown[number]): Chain {
  if (first.type === 'true_up') return trueUp(line, first)
  if (first.type === 'coupon') return couponSteps(first, line.currency)
  if (first.type === 'progressive') return progressive(line, first)
  if (first.type === 'adjustment' || first.type === 'fee_difference') return adjustment(line, first)
  if (first.type === 'prepaid_credit') return rounded(line, boughtCredit(first))
  return rounded(line, first.type === 'one_time' ? oneTime(first) : charged(line))
}

function charged(line: LineToExplain): Chain {
  if (line.breakdown.some(({ type }) => type === 'quantity')) return byQuantity(line)
  const priced = price(line, counted(line))
  const others = line.breakdown.filter((entry) => !isModelEntry(entry))
  const isFlat = line.breakdown.some(({ type }) => type === 'flat')
  const [proration] = others.filter((entry) => entry.type === 'proration')
  if (!isFlat || proration === undefined || line.proration === null) {
    return others.reduce((chain, entry) => otherStep(line, chain, entry), priced)
  }
  // The parts of a fee sum to it by difference, and so do those of a fee with its discount.
  const before = others.filter((entry) => entry.type === 'discount')
  const after = others.filter((entry) => entry.type !== 'discount' && entry !== proration)
  const whole = before.reduce((chain, entry) => otherStep(line, chain, entry), priced)
  const part = byDifference(whole, line.proration, line.currency)
  return after.reduce((chain, entry) => otherStep(line, chain, entry), part)
}

/** Of a fee that is priced by an agreed quantity, what each cost from when to when, added up. */
function byQuantity(line: LineToExplain): Chain {
  const runs = line.breakdown.flatMap((entry, at) => {
    if (entry.type !== 'quantity') return []
    const behind = line.breakdown.slice(at + 1)
    const end = behind.findIndex(({ type }) => type === 'quantity')
    return [{ entry, cost: costOfRun(line, entry, end < 0 ? behind : behind.slice(0, end)) }]
  })
  const parts = runs.map(({ entry: { quantity, start, end }, cost }): ExplainNode => {
    const label = `Quantity ${quantity} from ${start} until before ${end}`
    return { label, input: quantity, rule: 'step by step', output: cost.text, parts: cost.nodes }
  })
  const sum = runs.reduce((total, { cost }) => total.plus(cost.exact), ZERO)
  const all = step(START, { label: 'Agreed quantities', rule: 'the sum of the parts', parts }, sum)
  const bounds = line.breakdown.filter(({ type }) => type === 'maximum')
  return bounds.reduce((chain, entry) => otherStep(line, chain, entry), all)
}

function costOfRun(line: LineToExplain, { quantity, start, end }: QuantityEntry, breakdown: LineBreakdown): Chain {
  const { proration } = line
  const times = { startMs: Date.parse(start), endMs: Date.parse(end) }
  const run = { ...line, breakdown }
  const priced = price(run, { nodes: [], exact: parseSum(quantity), text: quantity })
  const bounds = breakdown.filter(({ type }) => type === 'discount')
  const whole = bounds.reduce((chain, entry) => otherStep(run, chain, entry), priced)
  const [cut] = breakdown.filter((entry) => entry.type === 'proration')
  if (cut === undefined || proration === null) return rounded(line, cut ? prorated(run, whole, cut) : whole)
  return byDifference(whole, { ...proration, parts: [{ ...proration.parts[0], ...times }] }, line.currency)
}

/** Of a line that nothing was counted for, one fee. */
function counted({ usage, startMs, endMs }: LineToExplain): Chain {
  if (usage === null) return START
  const { meter, aggregation, quantity, events, knownBeforeMs } = usage
  const start: Chain = { nodes: [], exact: ZERO.plus(events), text: String(events) }
  const known = step(
    start,
    { label: 'Events', rule: `each once, as known before ${instant(knownBeforeMs)}` },
    start.exact,
    start.text,
  )
  const rule = `${aggregation} over times from ${instant(startMs)} until before ${instant(endMs)}`
  return step(known, { label: `Meter ${meter}`, rule }, parseSum(quantity), quantity)
}

/** What the price's model makes of it: the sum of its parts. */
function price({ breakdown }: LineToExplain, chain: Chain): Chain {
  const parts = breakdown.filter(isModelEntry).map(pricePart)
  const exact = parts.reduce((sum, { output }) => sum.plus(parseSum(output)), ZERO)
  return step(chain, { label: 'Price', rule: 'the sum of the parts', parts }, exact)
}

function otherStep(line: LineToExplain, chain: Chain, entry: LineBreakdown[number]): Chain {
  switch (entry.type) {
    case 'proration':
      return prorated(line, chain, entry)
    case 'discount':
    case 'overage':
    case 'maximum':
      return bound(chain, entry)
    case 'commitment':
      return committed(line, rounded(line, chain), entry)
    default:
      return chain
  }
}

/** Of usage, only the flat amounts of tiers are prorated; of a fee all of it. */
function prorated({ breakdown, usage }: LineToExplain, chain: Chain, entry: ProrationEntry): Chain {
  const [served, whole, unit] =
    'days' in entry ? [entry.days, entry.of_days, 'days'] : [entry.seconds, entry.of_seconds, 'seconds']
  const flats = usage === null ? chain.exact : tierFlats(breakdown.filter(isModelEntry))
  const part = flats.times(served).div(whole)
  const rest = chain.exact.minus(flats)
  const share = `${textOf(flats)} × ${served} ÷ ${whole}`
  const rule = rest.isZero() ? share : `${textOf(rest)} + ${share}`
  return step(chain, { label: `Proration (${unit})`, rule }, rest.plus(part))
}

function bound(chain: Chain, entry: BoundEntry): Chain {
  if (entry.type === 'discount') {
    const rule = `${chain.text} - ${chain.text} × ${entry.percent} ÷ 100`
    const off = chain.exact.times(parseSum(entry.percent)).div(100)
    return step(chain, { label: 'Discount', rule }, chain.exact.minus(off))
  }
  if (entry.type === 'overage') {
    const { commitment_amount: commitment, overage_factor: factor } = entry
    const rule = `${commitment} + (${chain.text} - ${commitment}) × ${factor}`
    const committed = parseSum(commitment)
    const beyond = chain.exact.minus(committed).times(parseSum(factor))
    return step(chain, { label: 'Overage beyond the commitment', rule }, committed.plus(beyond))
  }
  return step(chain, { label: 'Maximum', rule: `at most ${entry.maximum_amount}` }, parseSum(entry.maximum_amount))
}

/** What all periods of the window come to together, and what of it the others have not billed. */
function committed(line: LineToExplain, chain: Chain, entry: CommitmentEntry): Chain {
  const { commitment_amount: amount, overage_factor: factor, drawn_before: drawn, billed_before: billed } = entry
  const since = `Commitment of ${amount} since ${entry.window_start}`
  const together = chain.exact.plus(parseSum(drawn))
  const all = step(chain, { label: since, rule: `${chain.text} + ${drawn} of its other periods` }, together)
  const overage = { type: 'overage' as const, commitment_amount: amount, overage_factor: factor, amount: '' }
  const whole = together.greaterThan(parseSum(amount)) ? rounded(line, bound(all, overage)) : all
  const isLess = entry.settled === true && whole.exact.lessThan(parseSum(amount))
  const raised = { label: 'Up to the commitment', rule: 'settled before' }
  const least = isLess ? step(whole, raised, parseSum(amount), amount) : whole
  const left = less(line, least, 'what its other periods billed', billed)
  const used = chain.exact.isNegative() ? chain.exact : ZERO
  if (!left.exact.lessThan(used)) return left
  return step(left, { label: 'No less than what was used', rule: 'the others give back the rest' }, used)
}

/** unused(start) − unused(end) of each part, each rounded: so the parts of a period sum to the whole. */
function byDifference(
  chain: Chain,
  { parts, basis }: NonNullable<LineToExplain['proration']>,
  currency: string,
): Chain {
  const [{ wholeStartMs: startMs, wholeEndMs: endMs }] = parts
  const whole = { startMs, endMs }
  const unusedFrom = (atMs: number, sign: bigint): { minor: bigint; node: ExplainNode } => {
    const minor = sign * unusedMinor(chain.exact, atMs, whole, basis, currency)
    const length = `${lengthOf(atMs, endMs, basis)} ÷ ${lengthOf(startMs, endMs, basis)}`
    const label = `${sign > 0n ? 'Unused from' : 'Less unused from'} ${instant(atMs)} on`
    const rule = `${sign < 0n ? '0 - ' : ''}${chain.text} × ${length}, rounded`
    return { minor, node: { label, input: chain.text, rule, output: formatMoney(minor, currency), parts: [] } }
  }
  const unused = parts.flatMap((part) => [unusedFrom(part.startMs, 1n), unusedFrom(part.endMs, -1n)])
  const minor = unused.reduce((sum, one) => sum + one.minor, 0n)
  return step(
    chain,
    { label: `Proration (${basis.unit}s)`, rule: 'the sum of the parts', parts: unused.map(({ node }) => node) },
    moneyAsQuantity(minor, currency),
  )
}

/** The least that the charge comes to, less what its line came to. */
function trueUp(line: LineToExplain, { minimum_amount, amount, window_start: since }: TrueUpEntry): Chain {
  const minimum = parseSum(minimum_amount)
  const lineAmount = textOf(minimum.minus(parseSum(amount)))
  const start = { nodes: [], exact: minimum, text: minimum_amount }
  const least = step(start, { label: 'Minimum', rule: 'the least that the charge comes to' }, minimum, minimum_amount)
  const [proration] = line.breakdown.filter((entry) => entry.type === 'proration')
  const what = since === undefined ? 'the line' : `all that its periods came to since ${since}`
  return less(line, rounded(line, proratedMinimum(line, least, proration)), what, lineAmount)
}

function proratedMinimum(line: LineToExplain, least: Chain, proration: ProrationEntry | undefined): Chain {
  if (proration === undefined) return least
  if (line.proration !== null) return byDifference(least, line.proration, line.currency)
  return prorated({ ...line, usage: null }, least, proration)
}

/**
 * What the charge of an earlier period comes to by what is known now, less what was billed of it. Credit notes give back
 * what a negative one leaves.
 */
function adjustment(line: LineToExplain, entry: AdjustmentEntry | FeeDifferenceEntry): Chain {
  const rest = line.breakdown.slice(1)
  const at = rest.findIndex(({ type }) => type === 'true_up')
  const now = rounded(line, charged({ ...line, breakdown: at < 0 ? rest : rest.slice(0, at) }))
  const off = entry.type === 'adjustment' ? parseSum(entry.discount ?? '0') : ZERO
  const cost = parseSum(entry.now).plus(off)
  const raised = { label: 'Up to the minimum', rule: `+ ${textOf(cost.minus(now.exact))}` }
  const before = now.exact.equals(cost) ? now : step(now, raised, cost, off.isZero() ? entry.now : textOf(cost))
  const whole = off.isZero() ? before : less(line, before, 'discounts of that period', textOf(off))
  const difference = less(line, whole, 'what was billed', entry.billed)
  const left = parseSum(entry.amount)
  if (difference.exact.equals(left) || left.isPositive()) return difference
  const label = entry.type === 'adjustment' ? 'Less what credit notes give back' : 'Less what discounts took off'
  const rule = entry.type === 'adjustment' ? 'the rest' : `+ ${entry.discount ?? '0'}`
  return step(difference, { label, rule }, left, entry.amount)
}

/** The charge stands on the invoice from its first unit on. */
function progressive(line: LineToExplain, { billed, invoice_id: invoiceId }: ProgressEntry): Chain {
  return less(line, { nodes: [], exact: ZERO, text: '0' }, `what invoice ${invoiceId} brought the charge to`, billed)
}

function oneTime({ amount, quantity, unit_amount: each }: OneTimeEntry): Chain {
  if (quantity === undefined || each === undefined) {
    return step(START, { label: 'One-time amount', rule: `1 × ${amount}` }, parseSum(amount))
  }
  const units = { nodes: [], exact: parseSum(quantity), text: quantity }
  return step(units, { label: 'Units', rule: `${quantity} × ${each}` }, units.exact.times(parseSum(each)))
}

function boughtCredit({ amount, purchase_id: purchase }: PrepaidCreditEntry): Chain {
  const rule = `1 × ${amount}, paid by purchase ${purchase}; its sale is a liability, neither taxed nor revenue`
  return step(START, { label: 'Prepaid credit', rule }, parseSum(amount))
}

function less({ currency }: LineToExplain, chain: Chain, what: string, amount: string): Chain {
  const exact = chain.exact.minus(parseSum(amount))
  const text = formatMoney(roundToMinorOfAnySize(exact, currency), currency)
  return step(chain, { label: `Less ${what}`, rule: `${chain.text} - ${amount}` }, exact, text)
}

/** The one rounding of a line, from the exact amount. */
function rounded({ currency }: LineToExplain, chain: Chain): Chain {
  const minor = roundToMinorOfAnySize(settled(chain.exact), currency)
  const rule = `to ${currencyExponent(currency)} places, halves away from zero`
  return step(chain, { label: 'Rounding', rule }, moneyAsQuantity(minor, currency), formatMoney(minor, currency))
}

/** What is stored is the end, whatever the steps say: where they say something else, that is told. */
function ending({ amountMinor, currency }: LineToExplain, chain: Chain): Chain {
  const amount = moneyAsQuantity(amountMinor, currency)
  if (chain.exact.equals(amount)) return chain
  const rule = 'what is stored with the line; the steps above do not come to it'
  return step(chain, { label: 'Stored amount', rule }, amount, formatMoney(amountMinor, currency))
}

function instant(ms: number): string {
  return new Date(ms).toISOString()
}
