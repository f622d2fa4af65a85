import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  changedFrom,
  type Phase,
  type PhaseKind,
  type Phases,
  phaseAt,
  samePhases,
  trialEndOf,
} from '../../../../invoicer/agreements/subscriptions/phases.ts'

const START = Date.UTC(2024, 0, 1)
const HOURS = 24 * 40
const hour = (n: number) => START + n * 3_600_000
const active: Phase = { startMs: START, planId: 'a', kind: 'active', bills: true }
const alone: Phases = [active]
const onPlan = (planId: string) => (phase: Phase) => ({ ...phase, planId })
const paused = (phase: Phase): Phase => ({ ...phase, kind: 'paused', bills: false })

const changes = fc.array(
  fc.record({
    at: fc.integer({ min: -10, max: HOURS }),
    planId: fc.constantFrom('a', 'b', 'c'),
    kind: fc.constantFrom<PhaseKind>('active', 'trial', 'paused'),
    bills: fc.boolean(),
  }),
  { maxLength: 8 },
)
const applied = (wanted: readonly { at: number; planId: string; kind: PhaseKind; bills: boolean }[]) =>
  wanted.reduce<Phases>(
    (phases, { at, ...change }) => changedFrom(phases, hour(at), (p) => ({ ...p, ...change })),
    alone,
  )

describe('the phases of a subscription', () => {
  test('cover all its time, each instant once, and none says the same as the one before it', () => {
    fc.assert(
      fc.property(changes, (wanted) => {
        const phases = applied(wanted)
        expect(phases[0].startMs).toBe(START)
        for (const [index, phase] of phases.slice(1).entries()) {
          const before = phases[index]!
          expect(phase.startMs).toBeGreaterThan(before.startMs)
          expect({ ...phase, startMs: 0 }).not.toEqual({ ...before, startMs: 0 })
        }
      }),
    )
  })

  test('before a change are what they were, and behind it what it says', () => {
    fc.assert(
      fc.property(
        changes,
        fc.integer({ min: 0, max: HOURS }),
        fc.integer({ min: 0, max: HOURS }),
        (wanted, at, seen) => {
          const phases = applied(wanted)
          const changed = changedFrom(phases, hour(at), onPlan('z'))
          const [one, other] = [phaseAt(phases, hour(seen)), phaseAt(changed, hour(seen))]
          expect({ ...other, startMs: 0 }).toEqual({ ...(seen < at ? one : onPlan('z')(one)), startMs: 0 })
        },
      ),
    )
  })

  test('are one again when a change is taken back in time', () => {
    const there = changedFrom(alone, hour(5), onPlan('b'))
    expect(there.map(({ startMs, planId }) => [startMs, planId])).toEqual([
      [START, 'a'],
      [hour(5), 'b'],
    ])
    expect(samePhases(changedFrom(there, hour(5), onPlan('a')), alone)).toBe(true)
    expect(samePhases(there, alone)).toBe(false)
  })

  test('keep a plan that is to change through a pause, and a pause through a change of plan', () => {
    const both = changedFrom(changedFrom(alone, hour(10), onPlan('b')), hour(5), paused)
    expect(both.map(({ planId, kind }) => [planId, kind])).toEqual([
      ['a', 'active'],
      ['a', 'paused'],
      ['b', 'paused'],
    ])
    expect(changedFrom(both, hour(2), onPlan('c')).map(({ planId, kind }) => [planId, kind])).toEqual([
      ['a', 'active'],
      ['c', 'active'],
      ['c', 'paused'],
    ])
  })

  test('say when a trial ends that they began with', () => {
    const trial: Phase = { ...active, kind: 'trial', bills: false }
    expect(trialEndOf(alone)).toBeNull()
    expect(trialEndOf([trial, { ...active, startMs: hour(9) }])).toBe(hour(9))
    // The plan is changed in the trial.
    expect(trialEndOf(changedFrom([trial, { ...active, startMs: hour(9) }], hour(3), onPlan('b')))).toBe(hour(9))
  })
})
