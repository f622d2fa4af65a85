import { Problem } from '../../../schemas/http/problem.ts'
import { stateAfter, stateAt } from './lifecycle.ts'
import { changedFrom, phaseAt } from './phases.ts'
import { faultOfQuantities, isLess, type Quantities, quantitiesOf, withQuantities } from './quantities.ts'
import { changeableFrom, periodEnd } from './running-period.ts'
import type { NamedPhase, Subscription } from './subscription.ts'
import type { Changeable } from './subscriptions.postgres.ts'

/** How much of which charges, and when; null: less with the period's end, else now. */
export type QuantityChange = { quantities: Quantities; when: 'now' | 'period_end' | null }

/**
 * The phases after a change of quantities; those that are not named stay. More takes effect at once, less at the period's
 * end, unless told; where nothing is billed yet, in a trial or before the start, either at once. A change of the same ones
 * that was to come is replaced.
 * @throws Problem invalid_request for what the plan has not, or does not take so many of; illegal_state.
 */
export function phasesWithQuantities(
  found: Changeable,
  { quantities, when }: QuantityChange,
  nowMs: number,
): { phases: Subscription['phases']; atMs: number } {
  const { phases } = found.subscription
  stateAfter(stateAt(found.subscription, nowMs), 'change_plan')
  const fromMs = changeableFrom(found.subscription, nowMs)
  const held = quantitiesOf(phaseAt(phases, fromMs))
  const atMs = whenMs(found, when, fromMs, nowMs, isLess(held, { ...held, ...quantities }))
  refuseStrange(phaseAt(phases, atMs), quantities)
  const changed = changedFrom(phases, atMs, (phase) => withQuantities(phase, { ...quantitiesOf(phase), ...quantities }))
  refuseQuantities(changed.filter((phase, index) => index === 0 || phase.startMs >= atMs))
  return { phases: changed, atMs }
}

/** When a change takes effect that asks for less or not. @throws Problem illegal_state where it ends before. */
export function whenMs(
  { subscription, contract }: Changeable,
  when: QuantityChange['when'],
  fromMs: number,
  nowMs: number,
  asksForLess: boolean,
): number {
  const isFree = phaseAt(subscription.phases, fromMs).kind === 'trial' || nowMs < subscription.startMs
  const isLater = (when ?? (asksForLess && !isFree ? 'period_end' : 'now')) === 'period_end'
  const atMs = isLater ? periodEnd(subscription, contract, fromMs) : fromMs
  if (subscription.endMs === null || atMs < subscription.endMs) return atMs
  throw new Problem('illegal_state', 'The subscription ends before the change would take effect.')
}

/** @throws Problem invalid_request for quantities that the plan of the phase has no charge for. */
export function refuseStrange({ planKey, licences = {} }: NamedPhase, quantities: Quantities): void {
  const strange = Object.keys(quantities).filter((key) => !Object.hasOwn(licences, key))
  if (strange.length === 0) return
  const known = Object.keys(licences)
  const has = known.length === 0 ? 'it has none' : `it has ${known.join(', ')}`
  const message = `Plan ${JSON.stringify(planKey)} has no charge of this key that is priced by a quantity: ${has}.`
  throw invalidQuantities(strange.map((key) => ({ path: `quantities.${key}`, message })))
}

/** @throws Problem invalid_request for more or less than a plan takes. */
export function refuseQuantities(phases: readonly NamedPhase[]): void {
  for (const phase of phases) {
    const fault = faultOfQuantities(phase)
    if (fault === undefined) continue
    const message = `Of plan ${JSON.stringify(phase.planKey)}: ${fault.message} Send the quantities that shall hold.`
    throw invalidQuantities([{ path: `quantities.${fault.key}`, message }])
  }
}

function invalidQuantities(errors: { path: string; message: string }[]): Problem {
  return new Problem('invalid_request', 'The quantities are not valid.', { errors })
}
