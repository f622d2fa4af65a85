import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Period } from '../../../schemas/time/period.ts'
import type { Plan } from '../../agreements/plans/plan.ts'
import { type PlanChange, phasesOnPlan } from '../../agreements/subscriptions/change-plan.ts'
import { findChangeable } from '../../agreements/subscriptions/subscriptions.postgres.ts'
import type { Transact } from '../../transaction.ts'
import type { ToRate } from '../due.ts'
import { isDowngrade } from '../is-downgrade.ts'
import type { Draft } from '../lines.ts'
import type { Price } from '../rating/price.ts'
import { loadPlans } from '../run/billable-plans.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { planIdsOf, ratable } from '../shares.ts'
import { loadTaxes } from '../tax/taxes.postgres.ts'
import type { UsageReader } from '../usage.ts'
import { draftPreviews } from './draft-previews.ts'
import { periodHolding, usageUntil } from './period-holding.ts'
import { type PreviewedChange, previewChange } from './preview-change.ts'
import { findToRate } from './to-rate.postgres.ts'

export type PreviewDeps = { transact: Transact; usage: UsageReader; now: () => number }
export type Preview = {
  subscription: ToRate
  plan: Plan<Price>
  /** Of all that the subscription has, for its lines. */
  planOf: PlanOf
  period: Period
  /** Usage with times before it is in the draft, as far as it is known. */
  usageUntilMs: number
  draft: Draft
  /** How a change of plan that is asked for, and not made, changes it; null where none is. */
  change: PreviewedChange | null
}

/**
 * The coming invoice of the period that holds an instant, from what is known now, by the same functions as a billing
 * run. Nothing is stored.
 * @throws Problem not_found; illegal_state where no invoice will come; calculation_failed for what cannot be rated.
 */
export async function previewInvoice(
  { transact, usage, now }: PreviewDeps,
  tenantId: TenantId,
  input: { subscription: string; atMs: number | null; change: PlanChange | null },
): Promise<Preview> {
  const nowMs = now()
  const { stored, subscription, changeAtMs } = await transact(tenantId, (tx) => readWithChange(tx, input, nowMs))
  const period = comingPeriod(subscription, input.atMs ?? nowMs)
  const planOf = await loadPlans(transact, tenantId, new Map(), planIdsOf(subscription))
  const taxOf = await transact(tenantId, (tx) => loadTaxes(tx, [subscription.customerId]))
  const { plan } = ratable(subscription, period, planOf)
  const wanted = [subscription, ...(changeAtMs === null ? [] : [stored])].map((one) => ({ subscription: one, period }))
  const [draft, before] = await draftPreviews(usage, tenantId, nowMs, wanted, planOf, taxOf)
  if (draft === undefined || draft instanceof Error) throw draft ?? new Error('Nothing was drafted.')
  if (before instanceof Error) throw before
  const change = before && changeAtMs !== null ? previewChange(subscription, planOf, changeAtMs, before, draft) : null
  return { subscription, plan, planOf, period, usageUntilMs: usageUntil(period, nowMs), draft, change }
}

type WithChange = { stored: ToRate; subscription: ToRate; changeAtMs: number | null }

/** A subscription as it is stored, and as it would be after the change. */
async function readWithChange(
  tx: TenantTransaction,
  { subscription: idOrKey, change }: { subscription: string; change: PlanChange | null },
  nowMs: number,
): Promise<WithChange> {
  const stored = await findToRate(tx, idOrKey)
  if (stored === undefined) throw new Problem('not_found', 'There is no subscription with this id or external key.')
  const found = change && (await findChangeable(tx, stored.id))
  if (!found) return { stored, subscription: stored, changeAtMs: null }
  const { phases, atMs } = await phasesOnPlan(tx, found, change, isDowngrade, nowMs)
  return { stored, subscription: { ...stored, phases }, changeAtMs: atMs }
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
