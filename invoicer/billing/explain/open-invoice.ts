import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import { recurringLater } from '../../agreements/subscriptions/periods.ts'
import type { Transact } from '../../transaction.ts'
import { drawnThen } from '../commitments/drawn-then.ts'
import { listDraws, type StoredDraw } from '../commitments/draws.postgres.ts'
import { detailOf } from '../counted.ts'
import { dueAtOf, loadDiscounts } from '../discounts/discounts.postgres.ts'
import { type DueDiscount, inForce } from '../discounts/in-force.ts'
import type { ToRate } from '../due.ts'
import type { Invoice, InvoiceLine } from '../invoices/invoice.ts'
import { readInvoice } from '../invoices/read-invoice.ts'
import { listToRate } from '../preview/to-rate.postgres.ts'
import { loadPlans } from '../run/billable-plans.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { planIdsIn, planIdsOf } from '../shares.ts'
import type { MeteredUsage } from '../usage.ts'
import type { LineUsage } from './line-usage.ts'
import {
  costOfAdjustment,
  costOfFee,
  possiblePeriods,
  type Recomputed,
  recompute,
  type StoredCost,
} from './recompute-line.ts'
import {
  findInvoiceIds,
  hasNumberBefore,
  type LineOrigin,
  lineOrigins,
  type PhaseThen,
  runKnewBefore,
} from './stored-invoice.postgres.ts'

/** An invoice with all that its lines can be explained from. */
export type OpenedInvoice = {
  invoice: Invoice
  /** Null: it belongs to none. */
  subscription: ToRate | null
  lines: OpenedLine[]
  hasNumberBefore: boolean
  /** Discounts that its period has, as they were known when it was made. */
  discounts: DueDiscount[]
}
export type OpenedLine = {
  line: InvoiceLine
  origin: LineOrigin
  /** What plan and usage are to come to; undefined where neither made it. */
  cost: StoredCost | undefined
  /** That once more, or why its plan cannot be rated; undefined where the plan makes no such line. */
  recomputed: Recomputed | Problem | undefined
  /** What was counted for it; undefined for what needs no counting. */
  asked: LineUsage | undefined
}

/** @throws Problem not_found; invalid_request for a number that several legal entities gave. */
export async function openInvoice(transact: Transact, tenantId: TenantId, idOrNumber: string): Promise<OpenedInvoice> {
  const found = await transact(tenantId, async (tx) => {
    const [id, ...others] = await findInvoiceIds(tx, idOrNumber)
    if (others.length > 0) throw new Problem('invalid_request', 'Several invoices have this number: give an id.')
    // One that is not there is told as it is by its id.
    const invoice = await readInvoice(tx, id ?? idOrNumber)
    const subscription = await subscriptionOf(tx, invoice)
    const origins = await lineOrigins(tx, invoice.id)
    const drawn = subscription === null || !invoice.lines.some(draws) ? [] : await listDraws(tx, [subscription.id])
    const discounts = await discountsOfPeriod(tx, invoice, subscription)
    return { invoice, subscription, origins, drawn, discounts, hasNumberBefore: await hasNumberBefore(tx, invoice.id) }
  })
  const { invoice, subscription, origins, drawn } = found
  const planIds = [...(subscription === null ? [] : planIdsOf(subscription)), ...origins.flatMap(plansOf)]
  const planOf = await loadPlans(transact, tenantId, new Map(), planIds)
  const lines = invoice.lines.flatMap((line) => {
    const origin = origins.find(({ index }) => index === line.index)
    return origin ? [openLine(invoice, subscription && { ...subscription, drawn }, line, origin, planOf)] : []
  })
  return { invoice, subscription, lines, hasNumberBefore: found.hasNumberBefore, discounts: found.discounts }
}

/** A true-up of a commitment stands beside its line. */
function draws({ breakdown }: InvoiceLine): boolean {
  return breakdown.some(({ type }) => type === 'commitment')
}

async function subscriptionOf(tx: TenantTransaction, { subscriptionId }: Invoice): Promise<ToRate | null> {
  if (subscriptionId === null) return null
  const [subscription] = await listToRate(tx, [subscriptionId])
  if (subscription === undefined) throw new Problem('not_found', 'There is no subscription to this invoice.')
  return subscription
}

function plansOf({ planId, fee, progressive }: LineOrigin): string[] {
  return [...(planId === null ? [] : [planId]), ...planIdsIn(fee?.phases ?? progressive?.phases ?? [])]
}

/** By what was known to its run. An invoice beside the periods has none, unless it bills fees in advance. */
async function discountsOfPeriod(
  tx: TenantTransaction,
  invoice: Invoice,
  subscription: ToRate | null,
): Promise<DueDiscount[]> {
  const { id } = invoice
  if (subscription === null) return []
  const atMs = invoice.offCycle ? await dueAtOf(tx, id) : invoice.periodEndMs
  if (atMs === null) return []
  const discountsOf = await loadDiscounts(tx, [subscription], await runKnewBefore(tx, id))
  return inForce(discountsOf(subscription), atMs, [])
}

/** @throws Problem not_found. */
export function lineOf({ lines }: OpenedInvoice, index: number): OpenedLine {
  const line = lines.find((one) => one.line.index === index)
  if (line === undefined) throw new Problem('not_found', `The invoice has no line ${index}: the first one is 0.`)
  return line
}

function openLine(
  invoice: Invoice,
  subscription: (ToRate & { drawn: readonly StoredDraw[] }) | null,
  line: InvoiceLine,
  origin: LineOrigin,
  planOf: PlanOf,
): OpenedLine {
  const cost = costOf(invoice, line, origin, subscription?.drawn ?? [])
  if (cost === undefined || subscription === null) {
    return { line, origin, cost: undefined, recomputed: undefined, asked: undefined }
  }
  const { subjects } = subscription
  const billed = { startMs: origin.billedStartMs, endMs: origin.billedEndMs }
  // Fees in advance, and progressive invoices, were billed by the phases of then: what was changed since is settled by a later invoice.
  const phases = origin.fee ?? origin.progressive
  const ofThen = phases === null ? subscription : withPhases(subscription, phases.phases)
  const recomputed = recompute(cost, ofThen, possiblePeriods(ofThen.terms, billed), planOf)
  const { meter, periodStartMs: startMs, periodEndMs: endMs } = line
  const isKnown = recomputed !== undefined && !(recomputed instanceof Problem)
  const times = isKnown ? recomputed.parts : [{ startMs, endMs }]
  const averagedOverMs = isKnown ? recomputed.period.endMs - recomputed.period.startMs : undefined
  const charge = isKnown ? recomputed.plan.charges.find(({ key }) => key === cost.chargeKey) : undefined
  const detail = charge && detailOf(charge)
  const asked =
    origin.seal && meter
      ? { meter, subjects, times, averagedOverMs, knownBeforeMs: origin.seal.knownBeforeMs, detail }
      : undefined
  return { line, origin, cost, recomputed, asked }
}

function withPhases(subscription: ToRate, phases: readonly PhaseThen[] | null): ToRate {
  const { terms } = subscription
  return { ...subscription, phases, terms: { ...terms, later: recurringLater(terms, phases ?? []) } }
}

function costOf(
  invoice: Invoice,
  line: InvoiceLine,
  { planId }: LineOrigin,
  draws: readonly StoredDraw[],
): StoredCost | undefined {
  const { chargeKey, periodStartMs: startMs, amountMinor, breakdown } = line
  const [first, ...rest] = breakdown
  if (planId === null || first?.type === 'one_time' || first?.type === 'coupon') return undefined
  if (first?.type === 'progressive') return undefined
  const isAdjustment = first?.type === 'adjustment'
  const place = { invoiceId: invoice.id, lineIndex: line.index, isAdjustment, planId, chargeKey, startMs }
  const drawn = drawnThen(draws, place)
  const of = { planId, chargeKey, startMs, ...(drawn && { drawn }) }
  if (first?.type === 'adjustment') return { ...of, ...costOfAdjustment(first, rest, invoice.currency) }
  if (first?.type === 'fee_difference') return { ...of, ...costOfFee(first, rest, invoice.currency) }
  return { ...of, amountMinor, breakdown, usage: usageOf(invoice, line) }
}

/** A true-up was made from the line of its charge, and so from that line's usage. */
function usageOf(invoice: Invoice, line: InvoiceLine): MeteredUsage | null {
  const counted = line.usage ?? invoice.lines.find((one) => isSameCharge(one, line))?.usage ?? null
  if (counted === null) return null
  const { quantity, events, digest, counted: ofEvents } = counted
  const usage = { quantity: parseQuantity(quantity), events, digest: BigInt(digest) }
  return ofEvents === null ? usage : { ...usage, counted: ofEvents }
}

function isSameCharge(one: InvoiceLine, { chargeKey, meter, periodStartMs }: InvoiceLine): boolean {
  return one.chargeKey === chargeKey && one.meter === meter && one.periodStartMs === periodStartMs && one.usage !== null
}
