import { describe, expect, test } from 'vitest'
import { CHANGES, STATES, stateAfter, stateAt } from '../../../../invoicer/agreements/subscriptions/lifecycle.ts'
import type { PhaseKind, Phases } from '../../../../invoicer/agreements/subscriptions/phases.ts'

const LEGAL: Record<string, string> = {
  'draft activate': 'active',
  'draft revise': 'draft',
  'draft discard': 'ended',
  'trialing cancel': 'cancelled',
  'trialing change_plan': 'trialing',
  'trialing keep_plan': 'trialing',
  'trialing end': 'ended',
  'active cancel': 'cancelled',
  'active change_plan': 'active',
  'active keep_plan': 'active',
  'active pause': 'paused',
  'active keep_on': 'active',
  'active end': 'ended',
  'past_due cancel': 'cancelled',
  'past_due keep_plan': 'past_due',
  'past_due keep_on': 'past_due',
  'past_due end': 'ended',
  'paused cancel': 'cancelled',
  'paused pause': 'paused',
  'paused resume': 'active',
  'paused end': 'ended',
  'cancelled cancel': 'cancelled',
  'cancelled take_back': 'active',
  'cancelled end': 'ended',
}

/** EPIC-2: an illegal transition is refused with a clear error. */
test.each(STATES.flatMap((state) => CHANGES.map((change) => ({ state, change }))))(
  'what is $state may $change, or is refused it',
  ({ state, change }) => {
    const legal = LEGAL[`${state} ${change}`]
    if (legal !== undefined) expect(stateAfter(state, change)).toBe(legal)
    else expect(() => stateAfter(state, change)).toThrow(new RegExp(`^The subscription is ${state}\\. \\w.+`))
  },
)

describe('the state of a subscription at a time', () => {
  const phases: Phases = (['trial', 'active', 'paused'] as PhaseKind[]).map((kind, index) => {
    return { startMs: index * 10, planId: 'a', kind, bills: kind === 'active' }
  }) as unknown as Phases

  test('is that of its phase while its contract goes on', () => {
    const states = [5, 15, 25].map((atMs) => stateAt({ state: 'active', phases, endMs: null }, atMs))
    expect(states).toEqual(['trialing', 'active', 'paused'])
  })

  test('is its own when it is cancelled, ended or not paid, whatever its phase is', () => {
    for (const state of ['cancelled', 'ended', 'past_due'] as const) {
      expect(stateAt({ state, phases, endMs: null }, 25)).toBe(state)
    }
  })

  test('allows nothing more once its end has come', () => {
    expect(stateAt({ state: 'active', phases, endMs: 20 }, 19)).toBe('active')
    expect(stateAt({ state: 'active', phases, endMs: 20 }, 20)).toBe('ended')
  })
})
