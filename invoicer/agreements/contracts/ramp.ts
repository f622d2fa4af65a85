import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { checkSameTerms } from '../plans/check-plan.ts'
import type { Plan } from '../plans/plan.ts'
import { effectivePlan } from '../plans/plans.postgres.ts'
import { type Negotiating, privatePlan, storedPlan } from './private-plan.ts'
import { endOfDurations } from './term-end.ts'
import type { AgreedTerms, RampPhase } from './terms.ts'

/** Phases that begin behind it are a slip of the pen. */
const LATEST_MS = Date.UTC(2100, 0, 1)

/** From when on which plan holds. */
export type PlannedPhase = { startMs: number; plan: Plan }
/** What a ramp is laid out for. */
export type RampFrame = {
  customer: { id: string; currency: string; timezone: string }
  planKey: string
  startMs: number
  endMs: number | null
}

/**
 * The plans of a subscription one after the other, private versions stored: one, or as many as its ramp has phases, and the
 * catalogue's behind the first term where that renews at list prices. Each takes the version of its plan that is in effect
 * as it begins, by what is known now.
 * @throws Problem invalid_request for plans that are not there or do not follow on one another.
 */
export async function plannedPhases(
  tx: TenantTransaction,
  frame: RampFrame,
  { overrides, phases, term }: AgreedTerms,
  deps: Negotiating,
): Promise<[PlannedPhase, ...PlannedPhase[]]> {
  const { customer, planKey, startMs, endMs } = frame
  const ramp: readonly RampPhase[] = phases ?? [overrides === undefined ? {} : { overrides }]
  const starts = rampStarts(startMs, ramp, customer.timezone, endMs)
  const planned: PlannedPhase[] = []
  for (const [index, phase] of ramp.entries()) {
    const at = starts[index] ?? startMs
    const path = phases === undefined ? '' : `phases.${index}.`
    const base = await following(tx, { key: phase.plan ?? planKey, atMs: at, path }, customer.currency, planned[0])
    planned.push({ startMs: at, plan: await withOverrides(tx, base, phase, customer.id, `${path}overrides`, deps) })
  }
  const [first, ...later] = planned
  if (first === undefined) throw invalid([{ path: 'phases', message: 'Give one phase at least.' }])
  if (term?.renewal !== 'renew' || term.renewOn !== 'catalog') return [first, ...later]
  const renewedMs = endOfDurations(startMs, [term], customer.timezone)
  const last = planned.at(-1) ?? first
  if (last.startMs >= renewedMs) {
    throw invalid([
      { path: 'phases', message: 'The last phase begins behind the term, which renews on the catalogue.' },
    ])
  }
  const list = { key: last.plan.key, atMs: renewedMs, path: 'term.' }
  return [first, ...later, { startMs: renewedMs, plan: await following(tx, list, customer.currency, first) }]
}

async function withOverrides(
  tx: TenantTransaction,
  base: Plan,
  { overrides }: RampPhase,
  customerId: string,
  path: string,
  deps: Negotiating,
): Promise<Plan> {
  if (overrides === undefined) return base
  return storedPlan(tx, privatePlan(base, overrides, customerId, deps, path), { base, overrides, path }, deps)
}

/** Each phase but the last says how long it lasts. */
function rampStarts(startMs: number, ramp: readonly RampPhase[], zone: string, endMs: number | null): number[] {
  const errors: ProblemError[] = []
  const durations = ramp.flatMap((phase) => phase.for ?? [])
  for (const [index, phase] of ramp.entries()) {
    const isLast = index === ramp.length - 1
    if (!isLast && phase.for === undefined) {
      errors.push({ path: `phases.${index}.for`, message: 'Say how long it lasts: another phase follows.' })
    }
    if (isLast && phase.for !== undefined) {
      errors.push({ path: `phases.${index}.for`, message: 'The last phase lasts to the end: leave this out.' })
    }
  }
  if (errors.length > 0) throw invalid(errors)
  const starts = ramp.map((_, index) => endOfDurations(startMs, durations.slice(0, index), zone))
  for (const [index, at] of starts.entries()) {
    if (at < (endMs ?? LATEST_MS)) continue
    errors.push({ path: `phases.${index}`, message: `It would begin behind ${endMs === null ? 2099 : 'the end'}.` })
  }
  if (errors.length > 0) throw invalid(errors)
  return starts
}

/** A plan of the catalogue in the customer's currency, with the periods of the first one. */
async function following(
  tx: TenantTransaction,
  { key, atMs, path }: { key: string; atMs: number; path: string },
  currency: string,
  first: PlannedPhase | undefined,
): Promise<Plan> {
  const plan = await effectivePlan(tx, key, atMs)
  if (plan?.kind === 'add_on') throw invalid([{ path: `${path}plan`, message: 'This is an add-on.' }])
  if (plan === undefined) throw invalid([{ path: `${path}plan`, message: 'There is no such plan.' }])
  if (plan.currency !== currency) {
    const message = `The plan is in ${plan.currency}, the customer pays in ${currency}.`
    throw invalid([{ path: `${path}plan`, message }])
  }
  const differing = first === undefined ? [] : checkSameTerms(first.plan, plan)
  if (differing.length === 0) return plan
  const message = `It must have the ${differing.map((one) => one.path).join(', ')} of the first plan.`
  throw invalid([{ path: `${path}plan`, message }])
}

function invalid(errors: ProblemError[]): Problem {
  return new Problem('invalid_request', 'The subscription is not valid.', { errors })
}
