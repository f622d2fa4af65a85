import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity } from '../../../schemas/quantity.ts'
import { type Civil, civilAt } from '../../../schemas/time/zone.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { insertDraws, type NewDraw } from '../commitments/draws.postgres.ts'
import { countedIn } from '../counted.ts'
import type { AdjustmentEntry, NewPendingItem } from '../items/invoice-item.ts'
import type { BillingRun } from '../run/billing-run.ts'
import { type Settlement, settleDifference } from './difference.ts'
import {
  type BilledCharge,
  type ChargeLine,
  insertAdjustments,
  insertCorrections,
  listChargeLines,
} from './late.postgres.ts'
import type { CostNow } from './rate-again.ts'

/**
 * An amount to be given back on the lines that billed it, in their order, and then to the balance: as theirs, without tax
 * where that came on top.
 */
export type ToGiveBack = {
  adjustmentId: string
  customerId: string
  currency: string
  amountMinor: bigint
  lines: readonly ChargeLine[]
  reason: string
}
/** It lies above billing, and is handed in. Called within the transaction that keeps the difference. */
export type GiveBack = (tx: TenantTransaction, wanted: readonly ToGiveBack[], atMs: number) => Promise<void>

export type KeepDeps = Means & { giveBack: GiveBack }

type Difference = CostNow & Settlement & { id: string }

/**
 * Writes the differences of charges whose subscriptions are locked: what they are brought to, what the next invoice bills
 * of it, and what earlier ones give back. All in the caller's transaction.
 */
export async function keepDifferences(
  tx: TenantTransaction,
  deps: KeepDeps,
  run: BillingRun,
  costs: readonly CostNow[],
): Promise<void> {
  const differences = costs.flatMap((cost): Difference[] => {
    const settlement = settleDifference(cost.nowMinor, cost.charge)
    return settlement.differenceMinor === 0n ? [] : [{ ...cost, ...settlement, id: deps.newId() }]
  })
  await insertDraws(tx, drawsOf(run, costs, differences))
  if (differences.length === 0) return
  const atMs = deps.now()
  await insertAdjustments(tx, run, differences, atMs)
  const items = differences.flatMap((difference) =>
    difference.pendingMinor === 0n
      ? []
      : [{ adjustmentId: difference.id, item: correction(deps.newId(), run, difference) }],
  )
  if (items.length > 0) await insertCorrections(tx, items, atMs)
  await insertBillingEvents(
    tx,
    differences.map((difference) => adjustedEvent(deps, run, difference)),
    atMs,
  )
  const less = differences.filter(({ backMinor }) => backMinor > 0n)
  if (less.length === 0) return
  const linesOf = await listChargeLines(tx, less)
  const back = less.map(({ id: adjustmentId, charge, backMinor }, place): ToGiveBack => {
    const { invoice, currency } = charge
    const lines = linesOf[place] ?? []
    // Whoever paid for it has what no invoice can give back.
    return {
      adjustmentId,
      customerId: invoice.customerId,
      currency,
      amountMinor: backMinor,
      lines,
      reason: reasonOf(charge),
    }
  })
  await deps.giveBack(tx, back, atMs)
}

/** What of commitments is drawn otherwise by now, though the amount may be the same. */
function drawsOf(
  { knownBeforeMs }: BillingRun,
  costs: readonly CostNow[],
  differences: readonly Difference[],
): NewDraw[] {
  const adjustmentOf = new Map(differences.map(({ charge, id }) => [charge, id]))
  return costs.flatMap(({ charge, draw }) => {
    if (draw === undefined) return []
    const of = { subscriptionId: charge.subscriptionId, invoiceId: null, knownBeforeMs }
    return [{ ...draw, ...of, adjustmentId: adjustmentOf.get(charge) ?? null }]
  })
}

/** What the next invoices would have of these differences, were they kept now. */
export function pendingCorrections(run: BillingRun, means: Means, costs: readonly CostNow[]): NewPendingItem[] {
  return costs.flatMap((cost) => {
    const settlement = settleDifference(cost.nowMinor, cost.charge)
    if (settlement.pendingMinor === 0n) return []
    return [correction(means.newId(), run, { ...cost, ...settlement, id: means.newId() })]
  })
}

function correction(id: string, run: BillingRun, { charge, pendingMinor, ...cost }: Difference): NewPendingItem {
  const { customerId, subscriptionId, chargeKey, description, currency, planId, meter, period, tax } = charge
  const money = (minor: bigint) => formatMoney(minor, currency)
  const counted = countedIn(cost.usage)
  const entry: AdjustmentEntry = {
    type: 'adjustment',
    billed: money(cost.nowMinor - cost.differenceMinor),
    now: money(cost.nowMinor),
    ...(cost.offMinor === 0n ? {} : { discount: money(cost.offMinor) }),
    quantity: formatQuantity(cost.usage.quantity),
    events: cost.usage.events,
    digest: cost.usage.digest.toString(),
    ...(counted ? { counted } : {}),
    seal_id: run.sealId,
    amount: money(pendingMinor),
  }
  return {
    id,
    kind: 'adjustment',
    customerId,
    subscriptionId,
    corrects: { planId, meter, period, tax },
    chargeKey,
    description: `${description} (${cost.draw?.isUsed === false ? 'commitment' : 'late usage'}, ${daysOf(charge)})`,
    amountMinor: pendingMinor,
    currency,
    breakdown: [entry, ...cost.breakdown],
  }
}

function adjustedEvent(means: Means, run: BillingRun, { charge, differenceMinor, ...rest }: Difference) {
  const { currency, period, customerId, subscriptionId, invoice } = charge
  const money = (minor: bigint) => formatMoney(minor, currency)
  return {
    id: means.newId(),
    event: 'usage.adjusted' as const,
    customerId,
    subscriptionId,
    invoiceId: invoice.id,
    billingRunId: run.id,
    data: {
      charge: charge.chargeKey,
      meter: charge.meter,
      period_start: new Date(period.startMs).toISOString(),
      period_end: new Date(period.endMs).toISOString(),
      difference: money(differenceMinor),
      to_next_invoice: money(rest.pendingMinor),
      given_back: money(rest.backMinor),
      currency,
      seal_id: run.sealId,
    },
  }
}

function reasonOf(charge: BilledCharge): string {
  return `${charge.description}: usage of ${daysOf(charge)} was corrected`
}

/** The first and the last day of its period, where the customer is. */
function daysOf({ period, zone }: BilledCharge): string {
  const days = [period.startMs, period.endMs - 1].map((ms) => dayOf(civilAt(ms, zone)))
  return [...new Set(days)].join(' to ')
}

function dayOf({ year, month, day }: Civil): string {
  return [year, month, day].map((part) => String(part).padStart(2, '0')).join('-')
}
