import { isDeepStrictEqual } from 'node:util'
import type { AddOn } from './add-ons.ts'
import type { Quantities } from './quantities.ts'

/** `trial`: served, not billed. `paused`: not served until it is resumed, and billed only where that was agreed. */
export type PhaseKind = 'active' | 'trial' | 'paused'
/** From its start until the next phase of the subscription begins, or the subscription ends. */
export type Phase = {
  startMs: number
  planId: string
  kind: PhaseKind
  /** Whether its fees and usage are billed. */
  bills: boolean
  /** Of charges that are priced by an agreed quantity, where it is not the default. */
  quantities?: Quantities
  /** Plans that it carries beside its own; left out: none. */
  addOns?: readonly AddOn[]
}
/** All phases of a subscription in order, the first from its start: every time after that lies in exactly one. */
export type Phases<P extends Phase = Phase> = readonly [P, ...P[]]

/** The phase that holds an instant; before the first begins, that one. */
export function phaseAt<P extends Phase>(phases: Phases<P>, atMs: number): P {
  return phases.findLast(({ startMs }) => startMs <= atMs) ?? phases[0]
}

/** The same phases, changed from an instant on. What lies before it stays as it is. */
export function changedFrom<P extends Phase>(phases: Phases<P>, atMs: number, change: (phase: P) => P): Phases<P> {
  const [first] = phases
  const fromMs = Math.max(atMs, first.startMs)
  const before = phases.filter(({ startMs }) => startMs < fromMs)
  const after = phases.filter(({ startMs }) => startMs > fromMs)
  const changed = [{ ...phaseAt(phases, fromMs), startMs: fromMs }, ...after].map(change)
  return merged([...before, ...changed], first)
}

/** Where the trial that it began with ends; null without one. */
export function trialEndOf([first, ...later]: Phases): number | null {
  if (first.kind !== 'trial') return null
  return later.find(({ kind }) => kind !== 'trial')?.startMs ?? null
}

/** Phases that say the same as the one before them are no phases of their own. */
function merged<P extends Phase>(phases: readonly P[], first: P): Phases<P> {
  const kept = phases.filter((phase, index) => {
    const before = phases[index - 1]
    return before === undefined || !isAlike(phase, before)
  })
  const [head = first, ...rest] = kept
  return [head, ...rest]
}

function isAlike(a: Phase, b: Phase): boolean {
  return (
    a.planId === b.planId &&
    a.kind === b.kind &&
    a.bills === b.bills &&
    isDeepStrictEqual(a.quantities, b.quantities) &&
    isSameAddOns(a.addOns ?? [], b.addOns ?? [])
  )
}

/** They stand in the order of their ids. */
function isSameAddOns(a: readonly AddOn[], b: readonly AddOn[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ planId, quantity }, index) => planId === b[index]?.planId && quantity === b[index]?.quantity)
  )
}

export function samePhases(a: Phases, b: Phases): boolean {
  return (
    a.length === b.length &&
    a.every((phase, index) => {
      const other = b[index]
      return other !== undefined && phase.startMs === other.startMs && isAlike(phase, other)
    })
  )
}
