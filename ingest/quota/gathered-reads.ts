import { setImmediate as turn } from 'node:timers/promises'
import type { TenantId } from '../../schemas/http/door.ts'

type Values = readonly (string | null)[]
type Batch = { keys: string[]; values: Promise<Values> }

/** Together they hold the store up no longer than a large request does. */
const MOST_KEYS = 1_000

/**
 * Reads of one tenant that come in one turn of the event loop are one command, as draws are (decision 0016). None is
 * read before it was asked for, and if the store is away it is away for all of them.
 */
export function gatherReads(
  readAll: (keys: string[]) => Promise<Values>,
): (tenant: TenantId, keys: string[]) => Promise<Values> {
  const waiting = new Map<TenantId, Batch>()
  const open = (tenant: TenantId): Batch => {
    const keys: string[] = []
    const values = turn().then(() => {
      if (waiting.get(tenant)?.keys === keys) waiting.delete(tenant)
      return readAll(keys)
    })
    const batch = { keys, values }
    waiting.set(tenant, batch)
    return batch
  }
  return async (tenant, keys) => {
    const begun = waiting.get(tenant)
    const batch = begun && begun.keys.length + keys.length <= MOST_KEYS ? begun : open(tenant)
    const first = batch.keys.length
    for (const key of keys) batch.keys.push(key)
    return (await batch.values).slice(first, first + keys.length)
  }
}
