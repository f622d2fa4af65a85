import { type CounterKey, countersOf, type QuotaDraw, type QuotaStore, usedAgainst } from './quota-store.ts'

/** What stands against limits, in their order. Counters that are not loaded are named instead. */
export async function usedOfLimits(
  quota: Pick<QuotaStore, 'read'>,
  limits: readonly Pick<QuotaDraw, 'counter' | 'windows'>[],
  nowMs: number,
): Promise<{ missing: CounterKey[] } | { usedMicro: bigint[] }> {
  if (limits.every(({ windows }) => !windows))
    return quota.read(
      limits.map(({ counter }) => counter),
      nowMs,
    )
  const counters = [...new Set(limits.flatMap(countersOf))]
  const answer = await quota.read(counters, nowMs)
  if ('missing' in answer) return answer
  const usedOf = new Map(counters.map((counter, place) => [counter, answer.usedMicro[place] ?? 0n]))
  return { usedMicro: limits.map((limit) => usedAgainst(limit, (counter) => usedOf.get(counter) ?? 0n)) }
}
