import { Problem } from '../../../schemas/http/problem.ts'
import { type Phases, phaseAt } from './phases.ts'

/**
 * `draft`: not agreed yet, nothing of it is served, billed or counted. `trialing`: served, not billed. `active`: served and
 * billed. `past_due`: an invoice is not paid in time, which collection says. `paused`: not served until it is resumed.
 * `cancelled`: it goes on until its end, which was moved to where it was cancelled. `ended`: its last period is invoiced.
 */
export const STATES = ['draft', 'trialing', 'active', 'past_due', 'paused', 'cancelled', 'ended'] as const
export type SubscriptionState = (typeof STATES)[number]
export const CHANGES = [
  ...(['activate', 'revise', 'discard'] as const),
  ...(['cancel', 'take_back', 'change_plan', 'keep_plan', 'pause', 'keep_on', 'resume', 'end'] as const),
] as const
export type SubscriptionChange = (typeof CHANGES)[number]

/** Which change is legal in which state, and the state after it (EPIC-2). Whatever does not stand here is refused. */
export const TRANSITIONS: Readonly<
  Record<SubscriptionState, Readonly<Partial<Record<SubscriptionChange, SubscriptionState>>>>
> = {
  // Discarded, it never was one.
  draft: { activate: 'active', revise: 'draft', discard: 'ended' },
  trialing: { cancel: 'cancelled', change_plan: 'trialing', keep_plan: 'trialing', end: 'ended' },
  active: {
    cancel: 'cancelled',
    change_plan: 'active',
    keep_plan: 'active',
    pause: 'paused',
    // A pause that is to come is taken back.
    keep_on: 'active',
    end: 'ended',
  },
  past_due: { cancel: 'cancelled', keep_plan: 'past_due', keep_on: 'past_due', end: 'ended' },
  // Again: it stays so. The plan is changed before or after.
  paused: { cancel: 'cancelled', pause: 'paused', resume: 'active', end: 'ended' },
  // Again: now instead of at the period's end, or the other way round.
  cancelled: { cancel: 'cancelled', take_back: 'active', end: 'ended' },
  ended: {},
}

const REFUSED: Readonly<Record<SubscriptionChange, string>> = {
  activate: 'Only a draft can be activated.',
  revise: 'Only a draft is revised: send this as a change of the subscription.',
  discard: 'Only a draft is discarded: cancel the subscription.',
  cancel: 'There is nothing left to cancel: its last period is invoiced.',
  take_back:
    'Only a cancellation whose end has not come, with something left to bill, can be taken back: create a new subscription.',
  change_plan:
    'Its plan, quantities and add-ons can be changed while it is active or in its trial: pay, resume it or take its ' +
    'cancellation back.',
  keep_plan: 'There is no change of its plan to take back.',
  pause: 'It can be paused while it is active and not in its trial.',
  keep_on: 'There is no coming pause to take back.',
  resume: 'Only one that is paused can be resumed.',
  end: 'It has ended already.',
}

/** @throws Problem illegal_state for a change that the table does not have. */
export function stateAfter(state: SubscriptionState, change: SubscriptionChange): SubscriptionState {
  const next = TRANSITIONS[state][change]
  if (next !== undefined) return next
  throw new Problem('illegal_state', `The subscription is ${state}. ${REFUSED[change]}`)
}

/** Whether its contract goes on: neither is it cancelled, nor has it ended. */
export function goesOn(state: SubscriptionState): boolean {
  return state !== 'cancelled' && state !== 'ended'
}

/** What it is at a time, its phases included. */
export function stateAt(
  { state, phases, endMs }: { state: SubscriptionState; phases: Phases; endMs: number | null },
  atMs: number,
): SubscriptionState {
  // Its end has come, and a last invoice is still to be made: nothing is left to be changed.
  if (goesOn(state) && endMs !== null && endMs <= atMs) return 'ended'
  if (state !== 'active') return state
  const { kind } = phaseAt(phases, atMs)
  if (kind === 'active') return 'active'
  return kind === 'trial' ? 'trialing' : 'paused'
}
