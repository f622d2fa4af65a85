import { Problem } from '../../schemas/http/problem.ts'
import type { CounterKey } from './quota-store.ts'

const LOAD_ROUNDS = 3

/** Asks the store, and again when counters that it missed are loaded, unless nobody waits for it any more. */
export async function whenLoaded<T extends object>(
  loadCounters: (counters: readonly CounterKey[]) => Promise<void>,
  ask: () => Promise<{ missing: CounterKey[] } | T>,
  givenUp?: AbortSignal,
): Promise<T> {
  for (let round = 0; round < LOAD_ROUNDS; round++) {
    const answer = await ask()
    if (!('missing' in answer)) return answer
    await loadCounters(answer.missing)
    if (givenUp?.aborted) break
  }
  throw new Problem('unavailable', 'The quota counters vanish while they are loaded: try again')
}
