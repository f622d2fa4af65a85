import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Period } from '../../../schemas/time/period.ts'
import type { Negotiating } from '../../agreements/contracts/private-plan.ts'
import type { Plan } from '../../agreements/plans/plan.ts'
import { type PhaseChange, phasesAfter } from '../../agreements/subscriptions/change-subscription.ts'
import { feesDueMs } from '../../agreements/subscriptions/fees-due.ts'
import { recurringLater } from '../../agreements/subscriptions/periods.ts'
import { nextPeriodWith } from '../../agreements/subscriptions/running-period.ts'
import { findChangeable } from '../../agreements/subscriptions/subscriptions.postgres.ts'
import { type Transact, undone } from '../../transaction.ts'
import { withDraws } from '../commitments/load-draws.ts'
import { loadDiscounts } from '../discounts/discounts.postgres.ts'
import { payerIdOf, type ToRate } from '../due.ts'
import type { BilledFee } from '../fees/billed-fee.ts'
import { allFeesOf, feesOfPeriod } from '../fees/fees-on-invoice.ts'
import { asBilled } from '../fees/fees-to-bill.ts'
import { isDowngrade } from '../is-downgrade.ts'
import type { Draft } from '../lines.ts'
import type { Price } from '../rating/price.ts'
import { loadPlans, type PlanCache } from '../run/billable-plans.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { planIdsOf, ratable } from '../shares.ts'
import { type TaxEngine, taxWithoutStripe } from '../tax/tax-port.ts'
import { loadTaxes } from '../tax/taxes.postgres.ts'
import type { UsageReader } from '../usage.ts'
import { draftPreviews } from './draft-previews.ts'
import { drawnBefore } from './drawn-before.ts'
import { periodAfter, periodHolding, usageUntil } from './period-holding.ts'
import { type PreviewedChange, previewChange } from './preview-change.ts'
import { findToRate } from './to-rate.postgres.ts'

export type PreviewDeps = Pick<Negotiating, 'checkPrice'> & {
  transact: Transact
  usage: UsageReader
  now: () => number
  newId: () => string
  /** By default without Stripe Tax. */
  tax?: TaxEngine
}
export type Preview = {
  subscription: ToRate
  plan: Plan<Price>
  /** Of all that the subscription has, for its lines. */
  planOf: PlanOf
  period: Period
  /** Usage with times before it is in the draft, as far as it is known. */
  usageUntilMs: number
  draft: Draft
  /** How a change that is asked for, and not made, changes it; null where none is. */
  change: PreviewedChange | null
}

/**
 * The coming invoice of the period that holds an instant, from what is known now, by the same functions as a billing
 * run. Nothing is stored.
 * @throws Problem not_found; illegal_state where no invoice will come; calculation_failed for what cannot be rated.
 */
export async function previewInvoice(
  deps: PreviewDeps,
  tenantId: TenantId,
  input: { subscription: string; atMs: number | null; change: PhaseChange | null },
): Promise<Preview> {
  const { transact, usage, now, tax = taxWithoutStripe } = deps
  const nowMs = now()
  const plans: PlanCache = new Map()
  const { stored, subscription, changeAtMs } = await readChanged(deps, tenantId, input, nowMs, plans)
  const asStored = comingPeriod(stored, input.atMs ?? nowMs)
  // Where new periods begin with the change, it is cut there.
  const period = comingPeriod(subscription, asStored.startMs)
  const { planOf, taxOf, discountsOf } = await transact(tenantId, async (tx) => ({
    planOf: await loadPlans((_, work) => work(tx), tenantId, plans, [stored, subscription].flatMap(planIdsOf)),
    taxOf: await loadTaxes(tx, [payerIdOf(subscription)]),
    discountsOf: await loadDiscounts(tx, [subscription], null),
  }))
  const { plan } = ratable(subscription, period, planOf)
  const next = periodAfter(subscription.terms, period)
  const [drawing = subscription] = await withDraws(transact, tenantId, [subscription], planOf)
  const wanted = { subscription: drawing, period, next, billedFees: billedByThen(subscription, period, planOf) }
  const earlier = drawnBefore(drawing, period, planOf).map((one) => ({ subscription: drawing, period: one }))
  const all = [...earlier, wanted]
  const draft = (await draftPreviews(usage, tenantId, nowMs, all, planOf, taxOf, tax, discountsOf)).at(-1)
  if (draft === undefined || draft instanceof Error) throw draft ?? new Error('Nothing was drafted.')
  const fees = (of: ToRate, ...periods: readonly Period[]) => ({
    lines: periods.flatMap((one) => allFeesOf(of, one, planOf)),
  })
  const anew = next !== null && period.endMs < asStored.endMs ? [next] : []
  const [before, after] = [fees(stored, asStored), fees(subscription, period, ...anew)]
  const change = changeAtMs === null ? null : previewChange(subscription, planOf, changeAtMs, before, after)
  return { subscription, plan, planOf, period, usageUntilMs: usageUntil(period, nowMs), draft, change }
}

type WithChange = { stored: ToRate; subscription: ToRate; changeAtMs: number | null }

/** Prices that a change would agree on are read into the cache, and gone with the transaction. */
async function readChanged(
  deps: PreviewDeps,
  tenantId: TenantId,
  input: { subscription: string; change: PhaseChange | null },
  nowMs: number,
  plans: PlanCache,
): Promise<WithChange> {
  if (input.change === null || !('overrides' in input.change)) {
    return deps.transact(tenantId, (tx) => readWithChange(tx, input, nowMs, deps))
  }
  return undone(deps.transact)(tenantId, async (tx) => {
    const found = await readWithChange(tx, input, nowMs, deps)
    await loadPlans((_, work) => work(tx), tenantId, plans, planIdsOf(found.subscription), 'all')
    return found
  })
}

/** A subscription as it is stored, and as it would be after the change. */
async function readWithChange(
  tx: TenantTransaction,
  { subscription: idOrKey, change }: { subscription: string; change: PhaseChange | null },
  nowMs: number,
  deps: PreviewDeps,
): Promise<WithChange> {
  const stored = await findToRate(tx, idOrKey)
  if (stored === undefined) throw new Problem('not_found', 'There is no subscription with this id or external key.')
  const found = change && (await findChangeable(tx, stored.id))
  if (!found) return { stored, subscription: stored, changeAtMs: null }
  const { phases, atMs } = await phasesAfter(tx, found, change, { ...deps, isDowngrade }, nowMs)
  const next = nextPeriodWith(found.subscription, found.contract, phases)
  const terms = { ...stored.terms, later: recurringLater(found.contract, phases) }
  const dueMs = feesDueMs({ phases, nextPeriod: next }, found.feesBilled)
  return { stored, subscription: { ...stored, phases, next, terms, feesDueMs: dueMs }, changeAtMs: atMs }
}

/**
 * Fees of the period that nobody billed yet have an invoice of their own before this one, or that of the period before has
 * them. Of the period that is next neither will come where none are due: their invoice is void, and this one bills them.
 */
function billedByThen(subscription: ToRate, period: Period, planOf: PlanOf): readonly BilledFee[] {
  const billed = subscription.billedFees ?? []
  if (billed.some(({ periodStartMs }) => periodStartMs === period.startMs)) return billed
  const { next, feesDueMs: dueMs } = subscription
  if (period.startMs === next?.startMs && (dueMs == null || dueMs >= period.endMs)) return billed
  return [...billed, ...asBilled(feesOfPeriod(subscription, period, planOf))]
}

function comingPeriod(subscription: ToRate, atMs: number): Period {
  const { terms, next } = subscription
  const period = periodHolding(subscription, atMs)
  if (period === undefined) {
    const why =
      atMs < terms.startMs
        ? `begins at ${textOf(terms.startMs)}: ask for a time from then on`
        : `ends at ${textOf(terms.endMs ?? atMs)}: ask for a time before`
    throw new Problem('illegal_state', `There is no period at ${textOf(atMs)}. The subscription ${why}.`)
  }
  if (next !== null && atMs >= next.startMs) return period
  throw new Problem(
    'illegal_state',
    `The period from ${textOf(period.startMs)} to ${textOf(period.endMs)} has its invoice: read it among the invoices ` +
      'of the subscription.',
  )
}

function textOf(ms: number): string {
  return new Date(ms).toISOString()
}
