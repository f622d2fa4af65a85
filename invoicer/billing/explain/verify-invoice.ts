import { isDeepStrictEqual } from 'node:util'
import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney, roundToMinor } from '../../../schemas/money.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import type { Transact } from '../../transaction.ts'
import type { Draw } from '../commitments/draw.ts'
import { offNow } from '../discounts/charge-discounts.ts'
import { discountGivenBack } from '../fees/fees-to-bill.ts'
import type { Invoice } from '../invoices/invoice.ts'
import { taxAmounts } from '../tax/tax-amounts.ts'
import { type MeteredUsage, NO_USAGE, readQuantities, requestOf, type UsageReader } from '../usage.ts'
import type { EventReader } from './events.ts'
import { countAgain, shownUsage } from './line-usage.ts'
import { type OpenedInvoice, type OpenedLine, openInvoice } from './open-invoice.ts'
import { discountDifference } from './recompute-discounts.ts'
import { isAsStored, isNothing } from './recompute-line.ts'
import type { Seal } from './stored-invoice.postgres.ts'

export const PLACES = ['events', 'rollup', 'catalogue', 'rating', 'discount', 'tax', 'total', 'number', 'seal'] as const
/** The first thing that is not as it should be. */
export type Difference = {
  where: (typeof PLACES)[number]
  /** Null: the invoice as a whole. */
  line: number | null
  what: string
  /** As it comes out now, and as it is stored. */
  expected: string
  found: string
}
export type Verification = {
  invoice: Invoice
  /** Undefined: equal. */
  difference: Difference | undefined
  /** Until the first difference. */
  checked: { lines: number; events: number; seals: number }
}
export type VerifyDeps = { transact: Transact; usage: UsageReader; events: EventReader }

/**
 * Recomputes an invoice from raw events, catalogue and seal, and compares each step with what is stored, until the first
 * difference: line by line the usage by the events, then the price; then the totals, the number, what the rollups say,
 * and all that was sealed. Nothing is changed.
 */
export async function verifyInvoice(deps: VerifyDeps, tenantId: TenantId, idOrNumber: string): Promise<Verification> {
  const opened = await openInvoice(deps.transact, tenantId, idOrNumber)
  const checked = { lines: 0, events: 0, seals: 0 }
  const seals = new Map<string, Seal>()
  let difference = await inInvoice(deps, tenantId, opened, checked, seals)
  for (const seal of seals.values()) difference ??= await inSeal(deps, tenantId, seal, checked)
  return { invoice: opened.invoice, difference, checked }
}

/** Parts come first, each by itself as it was billed; places are those on the invoice that gathered them. */
async function inInvoice(
  deps: VerifyDeps,
  tenantId: TenantId,
  opened: OpenedInvoice,
  checked: Checked,
  seals: Map<string, Seal>,
): Promise<Difference | undefined> {
  for (const { invoiceId, firstLine } of opened.invoice.parts) {
    const part = await openInvoice(deps.transact, tenantId, invoiceId)
    const difference = await inInvoice(deps, tenantId, part, checked, seals)
    if (difference === undefined) continue
    return { ...difference, line: difference.line === null ? null : firstLine + difference.line }
  }
  for (const check of checks(deps, tenantId, opened, checked)) {
    const difference = await check
    if (difference !== undefined) return difference
  }
  for (const { seal } of opened.lines.map(({ origin }) => origin)) if (seal !== null) seals.set(seal.id, seal)
  return undefined
}

type Checked = Verification['checked']
type Check = Promise<Difference | undefined> | Difference | undefined

/** Each is made when it is asked for. */
function* checks(
  deps: VerifyDeps,
  tenantId: TenantId,
  opened: OpenedInvoice,
  checked: Checked,
): Generator<Check, void, undefined> {
  const { invoice, lines } = opened
  for (const line of lines) {
    yield inEvents(deps, tenantId, line, checked)
    yield inRating(line, invoice.currency)
    yield inCommitment(line, invoice.currency)
    yield inItem(line, invoice.currency)
    checked.lines += 1
  }
  // What was gathered has the discounts and taxes of its parts, each rounded for itself.
  if (invoice.parts.length === 0) {
    yield inDiscounts(opened)
    yield inTaxes(invoice)
  }
  yield inTotals(invoice)
  yield inNumber(opened)
  yield inRollups(deps, tenantId, lines)
}

async function inEvents(
  { events }: VerifyDeps,
  tenantId: TenantId,
  { line, cost, asked }: OpenedLine,
  checked: Checked,
): Promise<Difference | undefined> {
  if (asked === undefined || !cost?.usage) return undefined
  const counted = await countAgain(events, tenantId, asked)
  checked.events += counted.events
  return inUsage('events', line.index, counted, cost.usage) ?? inCounted(line.index, counted, cost.usage)
}

/** What the price needs of single events, and what the line lists of them. */
function inCounted(line: number, expected: MeteredUsage, found: MeteredUsage): Difference | undefined {
  // Where nobody could use anything, nothing was asked.
  const isUnasked = expected.counted === undefined || (found.counted === undefined && found.events === 0)
  if (isUnasked || isDeepStrictEqual(expected.counted, found.counted)) return undefined
  const [right, seen] = [expected, found].map(({ counted }) => JSON.stringify(counted ?? null))
  return { where: 'events', line, what: 'counted', expected: right ?? '', found: seen ?? '' }
}

/** As a run reads them, all lines of a seal at once. They come after the events, so what differs is theirs. */
async function inRollups(
  { usage }: VerifyDeps,
  tenantId: TenantId,
  lines: readonly OpenedLine[],
): Promise<Difference | undefined> {
  for (const knownBeforeMs of new Set(lines.flatMap(({ asked }) => asked?.knownBeforeMs ?? []))) {
    const together = lines.filter(({ asked }) => asked?.knownBeforeMs === knownBeforeMs)
    const requests = together.flatMap(({ line, asked }) => {
      if (asked === undefined || asked.subjects.length === 0) return []
      const of = { key: String(line.index), meter: asked.meter, subjects: [...asked.subjects] }
      return [requestOf(of, asked.times, asked.averagedOverMs)]
    })
    const answers = await readQuantities(usage, tenantId, new Date(knownBeforeMs), requests)
    for (const { line, cost } of together) {
      if (!cost?.usage) continue
      const difference = inUsage('rollup', line.index, cost.usage, answers.get(String(line.index)) ?? NO_USAGE)
      if (difference !== undefined) return difference
    }
  }
  return undefined
}

function inUsage(
  where: Difference['where'],
  line: number,
  expected: MeteredUsage,
  found: MeteredUsage,
): Difference | undefined {
  const [right, seen] = [shownUsage(expected), shownUsage(found)]
  const what = (['quantity', 'events', 'digest'] as const).find((name) => right[name] !== seen[name])
  return what && { where, line, what, expected: String(right[what]), found: String(seen[what]) }
}

function inRating({ line, cost, recomputed }: OpenedLine, currency: string): Difference | undefined {
  if (cost === undefined) return undefined
  const at = { line: line.index, found: formatMoney(cost.amountMinor, currency) }
  if (recomputed instanceof Problem) return { ...at, where: 'catalogue', what: 'plan', expected: recomputed.message }
  if (recomputed === undefined) {
    if (isNothing(cost)) return undefined
    const expected = `no line of charge ${JSON.stringify(cost.chargeKey)}`
    return { ...at, where: 'rating', what: 'amount', expected }
  }
  if (isAsStored(recomputed, cost)) return undefined
  const expected = formatMoney(recomputed.amountMinor, currency)
  if (expected !== at.found) return { ...at, where: 'rating', what: 'amount', expected }
  const [right, seen] = [recomputed.breakdown, cost.breakdown].map((one) => JSON.stringify(one))
  return { where: 'rating', line: line.index, what: 'breakdown', expected: right ?? '', found: seen ?? '' }
}

/** What the line draws of a commitment that other periods share, as it is kept for them. */
function inCommitment({ line, cost, recomputed }: OpenedLine, currency: string): Difference | undefined {
  if (cost === undefined || recomputed === undefined || recomputed instanceof Problem) return undefined
  const entry = line.breakdown.find((one) => one.type === 'commitment')
  const at = { where: 'rating' as const, line: line.index, what: 'commitment' }
  if (entry !== undefined && cost.drawn === undefined) return { ...at, expected: 'what it draws', found: 'nothing' }
  const [right, own] = [recomputed.draw, cost.drawn?.own]
  if (right === undefined || own === undefined) return undefined
  const shown = (draw: Draw) => `${formatMoney(draw.baseMinor, currency)}, ${formatMoney(draw.amountMinor, currency)}`
  return shown(right) === shown(own) ? undefined : { ...at, expected: shown(right), found: shown(own) }
}

/**
 * What no usage of this period made: one-time items, and what an adjustment, or a fee, bills beside what was billed before. A
 * negative one may be less than its difference, since credit notes give back the rest.
 */
function inItem({ line, origin, cost }: OpenedLine, currency: string): Difference | undefined {
  const [entry] = line.breakdown
  const expectedMinor = () => {
    if (entry?.type === 'one_time' && entry.quantity !== undefined && entry.unit_amount !== undefined) {
      return roundToMinor(parseQuantity(entry.quantity).times(parseQuantity(entry.unit_amount)), currency)
    }
    if (entry?.type === 'one_time' || entry?.type === 'prepaid_credit')
      return roundToMinor(parseQuantity(entry.amount), currency)
    if (entry?.type === 'fee_difference' && cost !== undefined) {
      const unpaidMinor = discountGivenBack(cost.amountMinor, origin.billedMinor, origin.fee?.discountMinor ?? 0n)
      return cost.amountMinor - origin.billedMinor + unpaidMinor
    }
    if (entry?.type === 'progressive') return -origin.billedMinor
    if (entry?.type !== 'adjustment' || cost === undefined) return line.amountMinor
    const offMinor = origin.discounts === null ? 0n : offNow(origin.discounts, cost.amountMinor, currency)
    const differenceMinor = cost.amountMinor - offMinor - origin.billedMinor
    const isPart = line.amountMinor < 0n && line.amountMinor >= differenceMinor
    return isPart ? line.amountMinor : differenceMinor
  }
  const [expected, found] = [expectedMinor(), line.amountMinor].map((minor) => formatMoney(minor, currency))
  if (expected === undefined || found === undefined || expected === found) return undefined
  return { where: 'rating', line: line.index, what: 'amount', expected, found }
}

/** Once more from the other lines and from what was given, as it was known to the run. */
function inDiscounts({ invoice, discounts }: OpenedInvoice): Difference | undefined {
  const difference = discountDifference(invoice, discounts)
  return difference && { where: 'discount', ...difference }
}

/** By the rates that stand on the lines, each rounded alone or all of them together, as its seller has it. */
function inTaxes({ lines, currency }: Invoice): Difference | undefined {
  const taxed = lines.flatMap(({ index, amountMinor, discount, tax }) =>
    tax === null ? [] : [{ index, amountMinor, discount, tax }],
  )
  if (taxed.length === 0) return undefined
  const taxable = taxed.map(({ amountMinor, discount, tax: { ratePercent, inclusive } }) => {
    const lowered = discount === null ? -1 : taxed.findIndex(({ index }) => index === discount.lowers)
    return { amountMinor, ratePercent, inclusive, lowers: lowered < 0 ? undefined : lowered }
  })
  const wrong = (['per_line', 'per_invoice'] as const).map((rounding) => {
    const expected = taxAmounts(taxable, rounding)
    return taxed.flatMap(({ index, tax: { amountMinor } }, place) => {
      const right = expected[place] ?? 0n
      return right === amountMinor ? [] : [{ index, expected: right, found: amountMinor }]
    })
  })
  const [different] = wrong.some((none) => none.length === 0) ? [] : (wrong[0] ?? [])
  if (different === undefined) return undefined
  const [expected, found] = [different.expected, different.found].map((minor) => formatMoney(minor, currency))
  return { where: 'tax', line: different.index, what: 'tax', expected: expected ?? '', found: found ?? '' }
}

/** A tax inside an amount is no part of the subtotal; nothing is due of what is part of another invoice. */
function inTotals(invoice: Invoice): Difference | undefined {
  const { lines, subtotalMinor, taxMinor, totalMinor, currency } = invoice
  const { creditMinor, balanceMinor, carriedInMinor, carriedOutMinor, amountDueMinor } = invoice
  const dueMinor = totalMinor - creditMinor - balanceMinor + carriedInMinor - carriedOutMinor
  const isPart = invoice.state === 'part' || invoice.partOf !== null
  const taxes = lines.flatMap(({ tax }) => tax ?? [])
  const sumOf = (minors: readonly bigint[]) => minors.reduce((sum, minor) => sum + minor, 0n)
  const insideMinor = sumOf(taxes.filter(({ inclusive }) => inclusive).map(({ amountMinor }) => amountMinor))
  const linesMinor = sumOf(lines.map(({ amountMinor }) => amountMinor)) - insideMinor
  const sums = [
    ['total', 'subtotal', linesMinor, subtotalMinor],
    ['tax', 'tax', sumOf(taxes.map(({ amountMinor }) => amountMinor)), taxMinor],
    ['total', 'total', linesMinor + taxMinor, totalMinor],
    ['total', 'amount due', isPart ? 0n : dueMinor, amountDueMinor],
  ] as const
  for (const [where, what, expected, found] of sums) {
    if (expected === found) continue
    return { where, line: null, what, expected: formatMoney(expected, currency), found: formatMoney(found, currency) }
  }
  return undefined
}

function inNumber({ invoice, hasNumberBefore }: OpenedInvoice): Difference | undefined {
  if (hasNumberBefore) return undefined
  const expected = 'the number before it on another invoice'
  return { where: 'number', line: null, what: 'number', expected, found: `a gap before ${invoice.number}` }
}

async function inSeal(
  { events }: VerifyDeps,
  tenantId: TenantId,
  seal: Seal,
  checked: Checked,
): Promise<Difference | undefined> {
  const now = await events.sealed(tenantId, seal.knownBeforeMs)
  checked.seals += 1
  const shown = (count: number, digest: bigint | string) => `${count} events with digest ${digest}`
  const [expected, found] = [shown(now.events, now.digest), shown(seal.eventCount, seal.digest)]
  return expected === found ? undefined : { where: 'seal', line: null, what: seal.id, expected, found }
}
