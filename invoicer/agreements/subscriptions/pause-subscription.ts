import { Problem } from '../../../schemas/http/problem.ts'
import { floorToMinute } from '../../../schemas/time/period.ts'
import type { ChangedPhases } from './change-plan.ts'
import { type SubscriptionChange, stateAfter, stateAt } from './lifecycle.ts'
import { changedFrom, phaseAt } from './phases.ts'
import { changeableFrom, periodEnd } from './running-period.ts'
import type { NamedPhase, Subscription } from './subscription.ts'
import type { Changeable } from './subscriptions.postgres.ts'

export type Moment = 'now' | 'period_end' | { atMs: number }
/** From when on it is paused, null: a pause that is to come is taken back; and whether it is billed meanwhile. */
export type Pause = { pause: Moment | null; bill: boolean }
export type Resume = { resume: Moment }

/**
 * The phases of a subscription that is paused from a time until it is resumed. Nothing is billed meanwhile, neither fees
 * nor usage, or both as ever with `bill`. One that has begun just then is the same pause.
 * @throws Problem illegal_state; invalid_request for a time that has passed.
 */
export function phasesPaused(found: Changeable, { pause, bill: bills }: Pause, nowMs: number): ChangedPhases {
  const { held, fromMs } = heldAsNow(found, pause === null ? 'keep_on' : 'pause', nowMs)
  if (pause === null) return { phases: held, atMs: fromMs }
  const { phases } = found.subscription
  const begunMs = typeof pause === 'object' ? floorToMinute(pause.atMs) : fromMs
  if (begunMs < fromMs && phases.some((phase) => isPauseFrom(phase, begunMs, bills))) return { phases, atMs: begunMs }
  const atMs = momentMs(found, pause, 'pause', fromMs)
  return { phases: changedFrom(held, atMs, (phase) => ({ ...phase, kind: 'paused', bills })), atMs }
}

/** The phases of a paused subscription that goes on from a time; as they are if it does. @throws Problem as above. */
export function phasesResumed(found: Changeable, { resume }: Resume, nowMs: number): ChangedPhases {
  const { subscription } = found
  if (stateAt(subscription, nowMs) === 'active' && subscription.phases.every((phase) => isOn(phase, nowMs))) {
    return { phases: subscription.phases, atMs: nowMs }
  }
  const { held, fromMs } = heldAsNow(found, 'resume', nowMs)
  const atMs = momentMs(found, resume, 'resume', fromMs)
  return { phases: changedFrom(held, atMs, (phase) => ({ ...phase, kind: 'active', bills: true })), atMs }
}

function isPauseFrom({ startMs, kind, bills }: NamedPhase, atMs: number, bill: boolean): boolean {
  return startMs === atMs && kind === 'paused' && bills === bill
}

/** Active, or of the past: that it is active now is known. */
function isOn({ startMs, kind }: NamedPhase, nowMs: number): boolean {
  return startMs <= nowMs || kind === 'active'
}

/** Without pauses and resumptions that were to come: what is said last holds. */
function heldAsNow(
  { subscription }: Changeable,
  change: SubscriptionChange,
  nowMs: number,
): { held: Subscription['phases']; fromMs: number } {
  stateAfter(stateAt(subscription, nowMs), change)
  const fromMs = changeableFrom(subscription, nowMs)
  const { kind, bills }: NamedPhase = phaseAt(subscription.phases, fromMs)
  return { held: changedFrom(subscription.phases, fromMs, (phase) => ({ ...phase, kind, bills })), fromMs }
}

function momentMs({ subscription, contract }: Changeable, moment: Moment, path: string, fromMs: number): number {
  const { endMs } = subscription
  const atMs = whenMs()
  if (atMs < fromMs) {
    const errors = [{ path, message: `This must not lie before ${new Date(fromMs).toISOString()}.` }]
    throw new Problem('invalid_request', 'The change is not valid.', { errors })
  }
  if (endMs === null || atMs < endMs) return atMs
  throw new Problem('illegal_state', 'The subscription ends before the change would take effect.')

  function whenMs(): number {
    if (moment === 'now') return fromMs
    return moment === 'period_end' ? periodEnd(subscription, contract, fromMs) : floorToMinute(moment.atMs)
  }
}
