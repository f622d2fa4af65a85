import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { counterId } from '../quota-store.ts'
import { type CounterGroup, groupsOf, type SubjectsOf, subjectsOfHolders } from './holders.ts'
import { correctedEvents } from './operations.clickhouse.ts'
import type { Difference } from './reconciler.ts'

export type ExplainDeps = { usage: ClickHouseStore; subjectsOf: SubjectsOf }

/** Why counters probably differ from usage, by their `counterId`. Asks what became of the events that they counted. */
export async function explain(deps: ExplainDeps, differences: readonly Difference[]): Promise<Map<string, string>> {
  const corrected = new Map<string, number>()
  const counters = differences.map(({ counter }) => counter)
  for (const group of groupsOf(counters, (counter) => counterId({ ...counter, subject: '' })))
    for (const [id, events] of await correctedOf(deps, group)) corrected.set(id, events)
  return new Map(
    differences.map((difference) => {
      const id = counterId(difference.counter)
      return [id, likelyCause(difference, corrected.get(id) ?? 0)]
    }),
  )
}

async function correctedOf({ usage, subjectsOf }: ExplainDeps, group: CounterGroup): Promise<[string, number][]> {
  const subjects = await subjectsOfHolders(subjectsOf, group)
  const events = await correctedEvents(usage, group[0], [...subjects.values()].flat())
  return group.map((counter) => {
    const own = subjects.get(counter.subject) ?? []
    return [counterId(counter), own.reduce((sum, subject) => sum + (events.get(subject) ?? 0), 0)]
  })
}

const CAUSES = {
  damaged: 'the counter holds no number: something else wrote it',
  drawnOnly:
    'drawn and never stored (a process was killed, or what a failed append drew was not given back), ' +
    'drawn again by a copy more than 15 minutes later, or counted otherwise since (a meter or a customer was changed)',
  storedOnly:
    'stored and not drawn (the limit was new; the store was away under an open policy, or came back with older data; ' +
    'an append that failed was in the log), or counted otherwise since (a meter or a customer was changed)',
}

export function likelyCause({ usedMicro, driftMicro }: Difference, correctedEvents: number): string {
  if (usedMicro === undefined) return CAUSES.damaged
  if (correctedEvents === 0) return driftMicro > 0n ? CAUSES.drawnOnly : CAUSES.storedOnly
  const events = correctedEvents === 1 ? '1 event of it was' : `${correctedEvents} events of it were`
  return `${events} voided or replaced after the draw, which changes usage and no counter`
}
