import type { TenantId } from '../../../schemas/http/door.ts'
import { groupBy } from '../../group-by.ts'
import type { CounterKey } from '../quota-store.ts'

/** Counters that are counted together, all of subjects or all of customers. */
export type CounterGroup = [CounterKey, ...CounterKey[]]

/** The subjects of customers, by the customers' ids; none: it need not be there. */
export type SubjectsOf = (
  tenant: TenantId,
  customerIds: readonly string[],
) => Promise<ReadonlyMap<string, readonly string[]>>

/** So many are one question: every question counts the events of the latest minutes anew. */
const MOST_IN_GROUP = 2_000

export function groupsOf(counters: readonly CounterKey[], nameOf: (counter: CounterKey) => string): CounterGroup[] {
  const groups = groupBy(counters, nameOf)
  return [...groups.values()].flatMap((group) =>
    Array.from({ length: Math.ceil(group.length / MOST_IN_GROUP) }, (_, part) =>
      group.slice(part * MOST_IN_GROUP, (part + 1) * MOST_IN_GROUP),
    ).filter(isGroup),
  )
}

function isGroup(counters: CounterKey[]): counters is CounterGroup {
  return counters.length > 0
}

/** Whose use each counter of a group adds up, by the subject of its key. */
export async function subjectsOfHolders(
  subjectsOf: SubjectsOf,
  group: CounterGroup,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const [{ tenant, ofCustomer }] = group
  const holders = [...new Set(group.map(({ subject }) => subject))]
  return ofCustomer ? subjectsOf(tenant, holders) : new Map(holders.map((subject) => [subject, [subject]]))
}
