import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Means, Transact } from '../../transaction.ts'
import { listDraws, listToSettle, type StoredDraw } from '../commitments/draws.postgres.ts'
import { drawsBySubscription, withDraws } from '../commitments/load-draws.ts'
import { listChargeDiscounts } from '../discounts/charge-discounts.postgres.ts'
import type { ToRate } from '../due.ts'
import { listToRate } from '../preview/to-rate.postgres.ts'
import { loadPlans, type PlanCache } from '../run/billable-plans.ts'
import type { BillingRun } from '../run/billing-run.ts'
import { isDataError, park } from '../run/issue-chunk.ts'
import { holdRun } from '../run/runs.postgres.ts'
import { planIdsOf } from '../shares.ts'
import { type ChangedUsage, readQuantities, type UsageReader } from '../usage.ts'
import { type GiveBack, keepDifferences } from './keep-differences.ts'
import { type BilledCharge, listBilledCharges, lockSubscriptions } from './late.postgres.ts'
import { keepLeft, listLeft, markBilled } from './late-left.postgres.ts'
import { findLateSteps } from './late-steps.postgres.ts'
import { billedInvoices, type CostNow, rateAgain, requestsOf, type Unratable, unratable } from './rate-again.ts'

export type LateDeps = Means & {
  transact: Transact
  usage: UsageReader
  giveBack: GiveBack
  stopping: () => boolean
  /** How many of these changes one transaction looks at. */
  subjectsAtOnce?: number
}

const SUBJECTS_AT_ONCE = 200

/** A change that is new, or one that runs before could not bill. */
type Change = ChangedUsage & { isLeft: boolean }
/** Some of the changes, and all that was left before this run. */
type Look = { changed: readonly Change[]; left: readonly ChangedUsage[] }

/**
 * Bills the difference that usage makes which became known behind the run that billed its period: late events, voids,
 * replacements. Without any it is one statement to each store. Each part of the subjects has one transaction, which locks
 * the subscriptions, compares with what is billed by then, and keeps what it makes of it: a crash leaves the parts before
 * it, and whoever repeats them, or does them at the same time, finds no difference any more. What cannot be billed is left
 * to the next run. False when the process is to stop first.
 */
export async function billLateUsage(deps: LateDeps, tenantId: TenantId, run: BillingRun): Promise<boolean> {
  const look = await lookForChanges(deps, tenantId, run)
  const plans: PlanCache = new Map()
  const atOnce = deps.subjectsAtOnce ?? SUBJECTS_AT_ONCE
  for (let from = 0; from < look.changed.length; from += atOnce) {
    if (deps.stopping()) return false
    await billPart(deps, tenantId, run, plans, { ...look, changed: look.changed.slice(from, from + atOnce) })
  }
  return true
}

/**
 * In the order of subjects. Commitments that are to be settled again count as changed. What is new of one is apart from what
 * was left of it: between the two nothing changed.
 */
export async function lookForChanges(
  deps: Pick<LateDeps, 'transact' | 'usage'>,
  tenantId: TenantId,
  run: BillingRun,
): Promise<Look> {
  const { steps, left, toSettle } = await deps.transact(tenantId, async (tx) => ({
    steps: await findLateSteps(tx, run),
    left: await listLeft(tx),
    toSettle: await listToSettle(tx),
  }))
  const { knownBeforeMs } = run
  const fresh = steps.length === 0 ? [] : await deps.usage.changed(tenantId, { steps, knownBeforeMs })
  const changed = [
    ...left.map((one): Change => ({ ...one, isLeft: true })),
    ...[...fresh, ...toSettle].map((one): Change => ({ ...one, isLeft: false })),
  ]
  return { changed: changed.sort((a, b) => (a.subject < b.subject ? -1 : a.subject > b.subject ? 1 : 0)), left }
}

async function billPart(
  deps: LateDeps,
  tenantId: TenantId,
  run: BillingRun,
  plans: PlanCache,
  look: Look,
): Promise<void> {
  const { rated, subscriptions, refused } = await rateLate(deps, tenantId, run, plans, look.changed)
  const differ = rated.costs.filter(isAnother)
  const toKeep = subscriptions.filter(({ id }) => differ.some(({ charge }) => charge.subscriptionId === id))
  refused.push(...(await keepOrRefuse(deps, tenantId, run, look, toKeep, rated)))
  await leaveRefused(deps, tenantId, run, look, refused)
}

/** `again`: what those of the charges cost that are still open, where commitments were drawn so by now. */
type RatedLate = {
  costs: readonly CostNow[]
  again: (draws: readonly StoredDraw[], isOpen: (charge: BilledCharge) => boolean) => CostNow[]
}

/** What is billed and these changes may have changed, as it costs now. Nothing is stored. */
export async function rateLate(
  deps: Pick<LateDeps, 'transact' | 'usage'>,
  tenantId: TenantId,
  run: BillingRun,
  plans: PlanCache,
  changed: readonly ChangedUsage[],
): Promise<{ rated: RatedLate; subscriptions: ToRate[]; refused: Unratable[] }> {
  const { charges, subscriptions } = await deps.transact(tenantId, async (tx) => {
    const found = await openCharges(tx, run, changed)
    return { charges: found, subscriptions: await listToRate(tx, [...new Set(found.map((one) => one.subscriptionId))]) }
  })
  const refused: Unratable[] = []
  if (charges.length === 0) return { rated: { costs: [], again: () => [] }, subscriptions, refused }
  const planOf = await loadPlans(deps.transact, tenantId, plans, subscriptions.flatMap(planIdsOf))
  const drawing = await withDraws(deps.transact, tenantId, subscriptions, planOf)
  const invoices = billedInvoices(charges, drawing, planOf, refused)
  const requests = invoices.flatMap(requestsOf)
  const answers = await readQuantities(deps.usage, tenantId, new Date(run.knownBeforeMs), requests)
  const drawsOf = new Map(drawing.flatMap(({ id, draws }) => (draws === undefined ? [] : [[id, draws] as const])))
  const again: RatedLate['again'] = (drawn, isOpen) => {
    const open = invoices.map((invoice) => ({ ...invoice, charges: invoice.charges.filter(isOpen) }))
    const refusedNow: Unratable[] = []
    const costs = rateAgain(open, answers, refusedNow, drawsBySubscription(drawn))
    const [first] = refusedNow
    if (first === undefined) return costs
    // As what the database refuses: each subscription is then tried alone, and this one left to the next run.
    throw new Problem('calculation_failed', first.reason)
  }
  return { rated: { costs: rateAgain(invoices, answers, refused, drawsOf), again }, subscriptions, refused }
}

/**
 * What the database refuses because of its content would be refused each time, and nobody's late usage would be billed
 * again: then each subscription gets a transaction of its own, and answered is the one at fault.
 */
async function keepOrRefuse(
  deps: LateDeps,
  tenantId: TenantId,
  run: BillingRun,
  look: Look,
  subscriptions: readonly ToRate[],
  rated: RatedLate,
): Promise<Unratable[]> {
  if (subscriptions.length === 0) return []
  try {
    await keep(deps, tenantId, run, look, subscriptions, rated)
    return []
  } catch (error) {
    if (!(error instanceof Error) || !isDataError(error)) throw error
    const [first, ...others] = subscriptions
    if (first !== undefined && others.length === 0) {
      const own = rated.costs.filter((cost) => cost.charge.subscriptionId === first.id && isAnother(cost))
      return [
        unratable(
          first,
          own.map(({ charge }) => charge),
          error.message,
        ),
      ]
    }
  }
  const refused: Unratable[] = []
  for (const one of subscriptions) refused.push(...(await keepOrRefuse(deps, tenantId, run, look, [one], rated)))
  return refused
}

async function keep(
  deps: LateDeps,
  tenantId: TenantId,
  run: BillingRun,
  look: Look,
  subscriptions: readonly ToRate[],
  { costs, again }: RatedLate,
): Promise<void> {
  const ids = new Set(subscriptions.map(({ id }) => id))
  await deps.transact(tenantId, async (tx) => {
    await holdRun(tx, run.id)
    await lockSubscriptions(tx, [...ids])
    // Once more, now that nobody else bills them: what they were brought to meanwhile counts.
    const open = new Map((await openCharges(tx, run, look.changed)).map((charge) => [placeOf(charge), charge]))
    const draws = costs.some(({ charge, draw }) => draw !== undefined && ids.has(charge.subscriptionId))
    const isOpen = (charge: BilledCharge) => open.has(placeOf(charge))
    const now = draws ? again(await listDraws(tx, [...ids]), isOpen) : costs
    const current = now.flatMap((cost): CostNow[] => {
      const charge = open.get(placeOf(cost.charge))
      return charge === undefined || !ids.has(charge.subscriptionId) ? [] : [{ ...cost, charge }]
    })
    await keepDifferences(tx, deps, run, current)
  })
}

/**
 * Leaves what cannot be billed to the next run. Its subscription is parked by the run that finds it first, so that somebody
 * sees why; its due periods go on with the next one, whatever else comes late for what could not be billed.
 */
async function leaveRefused(
  deps: LateDeps,
  tenantId: TenantId,
  run: BillingRun,
  { changed, left }: Look,
  refused: readonly Unratable[],
): Promise<void> {
  const subjects = subjectsOf(refused)
  const isTheirs = ({ subject }: ChangedUsage) => subjects.has(subject)
  const theirs = changed.filter(isTheirs)
  const done = changed.filter(({ subject, isLeft }) => isLeft && !subjects.has(subject))
  if (theirs.length === 0 && done.length === 0) return
  await deps.transact(tenantId, async (tx) => {
    await holdRun(tx, run.id)
    const byNew = await reachedBy(
      tx,
      theirs.filter(({ isLeft }) => !isLeft),
      refused,
    )
    const byLeft = new Set(await reachedBy(tx, left.filter(isTheirs), refused))
    const news = byNew.filter((one) => !byLeft.has(one))
    const again = subjectsOf(byNew)
    await park(tx, deps, run, news, deps.now())
    for (const isLeft of [true, false]) {
      const kept = theirs.filter((one) => one.isLeft === isLeft && (isLeft || again.has(one.subject)))
      await keepLeft(tx, run, kept)
    }
    await markBilled(tx, run, done)
  })
}

/** Those of the refused some of whose charges these changes may have changed. */
async function reachedBy(
  tx: TenantTransaction,
  changed: readonly ChangedUsage[],
  refused: readonly Unratable[],
): Promise<Unratable[]> {
  if (changed.length === 0) return []
  const reached = new Set((await listBilledCharges(tx, changed)).map(placeOf))
  return refused.filter(({ charges }) => charges.some((charge) => reached.has(placeOf(charge))))
}

function subjectsOf(refused: readonly Unratable[]): Set<string> {
  return new Set(refused.flatMap(({ subscription }) => subscription.subjects))
}

/** What somebody billed by more than this run knows is theirs: that run looked, or a later one will. */
async function openCharges(
  tx: TenantTransaction,
  run: BillingRun,
  changed: readonly ChangedUsage[],
): Promise<BilledCharge[]> {
  const charges = await listBilledCharges(tx, changed)
  const open = charges.filter(({ knownBeforeMs }) => knownBeforeMs < run.knownBeforeMs)
  const places = open.map(({ invoice, chargeKey, meter, period }) => {
    return { invoiceId: invoice.id, chargeKey, meter, startMs: period.startMs }
  })
  const discounts = await listChargeDiscounts(tx, places)
  return open.map((charge, index) => ({ ...charge, discounts: discounts[index] ?? null }))
}

function isAnother({ charge, nowMinor, draw }: CostNow): boolean {
  return nowMinor !== billedMinor(charge) || draw !== undefined
}

function billedMinor({ linesMinor, adjustedMinor }: BilledCharge): bigint {
  return linesMinor + adjustedMinor
}

function placeOf({ subscriptionId, chargeKey, period }: BilledCharge): string {
  return `${subscriptionId}/${period.startMs}/${chargeKey}`
}
