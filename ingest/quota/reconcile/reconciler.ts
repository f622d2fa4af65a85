import type { TenantId } from '../../../schemas/http/door.ts'
import { counterId } from '../quota-store.ts'
import { type CompareDeps, type Compared, type CompareOptions, compareCounters } from './compare.ts'
import { correctionOf, follow, isCertain, type Run } from './drift.ts'

export type ReconcileOptions = CompareOptions & {
  /** How long a counter must have been too high before it is made lower: see `correctionOf`. */
  standsMs: number
}

/** A counter that differs from usage for certain. */
export type Difference = Pick<Compared, 'counter' | 'usedMicro' | 'heldMicro' | 'usageMicro'> & {
  /** Above 0: the counter is too high. Of one that is damaged it is not known, and 0. */
  driftMicro: bigint
  /**
   * `stands`: it is left as it is; `changed`: somebody drew just when it was to be corrected; `refused`: the store did not
   * say that it was corrected.
   */
  state: 'corrected' | 'stands' | 'changed' | 'refused'
  /** No pass before this one told of it. */
  isNew: boolean
}

export type Pass = {
  counters: number
  /** Of each tenant that has counters. */
  differences: Map<TenantId, Difference[]>
  /** There are more: they are told when these are corrected. */
  cut: boolean
  /** Why it ended before all were compared. What it corrected until then is told all the same. */
  failure?: unknown
}

export function isCorrected({ state }: Difference): boolean {
  return state === 'corrected'
}

export type Reconciler = {
  /** Corrects if it is told to, and tells what differs in any case. Never rejects: see `failure`. */
  pass(correct: boolean): Promise<Pass>
}

/** Only counters that seem to differ are remembered between passes: of a Redis that is all wrong not all at once. */
const MOST_FOLLOWED = 50_000
/** Of a group's corrections. One may be refused for its own sake; several that are mean a store that is away. */
const MOST_REFUSALS = 3

/** Compares counters with usage again and again, and corrects what two passes in a row have seen. */
export function createReconciler(deps: CompareDeps, options: ReconcileOptions): Reconciler {
  let runs = new Map<string, Run>()
  const passOver = async (group: readonly Compared[], next: Map<string, Run>, seen: Pass, correct: boolean) => {
    let refusals = 0
    for (const compared of group) {
      const id = counterId(compared.counter)
      const ofTenant = seen.differences.get(compared.counter.tenant) ?? []
      seen.differences.set(compared.counter.tenant, ofTenant)
      seen.counters++
      const run = compared.looks && follow(runs.get(id), compared.looks, deps.now())
      // A counter may come again within a pass, and then begins anew.
      runs.delete(id)
      // A run, or no number at all.
      if ((!run && compared.usedMicro !== undefined) || next.has(id)) continue
      if (next.size >= MOST_FOLLOWED) {
        seen.cut = true
        continue
      }
      const may = correct && refusals < MOST_REFUSALS
      const difference = await settle(deps, { ...options, correct: may }, compared, run)
      if (difference) ofTenant.push(difference)
      if (difference?.state === 'refused') refusals++
      if (run && isFollowedOn(run, difference)) next.set(id, run)
    }
  }
  return {
    pass: async (correct) => {
      const next = new Map<string, Run>()
      const seen: Pass = { counters: 0, differences: new Map(), cut: false }
      try {
        for await (const group of compareCounters(deps, options)) await passOver(group, next, seen, correct)
      } catch (error) {
        seen.failure = error
      }
      // After a failure too: an old run of a counter that was corrected would take off what was drawn since.
      runs = next
      return seen
    },
  }
}

/**
 * What was corrected begins anew. So does what may have been: a command that is sent twice is refused, or finds the
 * counter changed, after it was done. What is still too low later was never counted, whoever corrected what.
 */
function isFollowedOn({ driftMicro }: Run, difference: Difference | undefined): boolean {
  if (difference?.state === 'changed') return driftMicro < 0n
  return difference?.state !== 'corrected' && difference?.state !== 'refused'
}

/** Corrects a counter if it may be; undefined while nothing is certain. */
async function settle(
  { quota, now, failed }: CompareDeps,
  { correct, standsMs }: ReconcileOptions & { correct: boolean },
  { counter, usedMicro, heldMicro, usageMicro }: Compared,
  run: Run | undefined,
): Promise<Difference | undefined> {
  if (run && !isCertain(run)) return undefined
  const difference = { counter, usedMicro, heldMicro, usageMicro, driftMicro: run?.driftMicro ?? 0n }
  const isNew = run === undefined || run.passes === 2
  const set = async (fromMicro: bigint | undefined, toMicro: bigint): Promise<Difference> => {
    try {
      const isSet = await quota.correct(counter, fromMicro, toMicro, now())
      return { ...difference, state: isSet ? 'corrected' : 'changed', isNew }
    } catch (error) {
      failed(error)
      return { ...difference, state: 'refused', isNew }
    }
  }
  if (correct && run && usedMicro !== undefined) {
    const addedMicro = correctionOf(run, usageMicro, now(), standsMs)
    if (addedMicro !== 0n) return set(usedMicro, usedMicro + addedMicro)
  }
  // Nobody draws on a damaged counter: nothing of it is under way.
  if (correct && usedMicro === undefined) return set(undefined, usageMicro + heldMicro)
  return { ...difference, state: 'stands', isNew }
}
