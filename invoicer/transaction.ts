import type { TenantId } from '../schemas/http/door.ts'
import type { TenantTransaction } from '../schemas/postgres/tenant.postgres.ts'

/** Opens a transaction that sees one tenant: `withTenant` with the pool bound to it. */
export type Transact = <T>(tenantId: TenantId, work: (tx: TenantTransaction) => Promise<T>) => Promise<T>

/** The same transactions, and nothing of them stays: to see what would happen, every check of the database included. */
export function undone(transact: Transact): Transact {
  return async <T>(tenantId: TenantId, work: (tx: TenantTransaction) => Promise<T>): Promise<T> => {
    let done: { result: T } | undefined
    const undo = transact(tenantId, async (tx) => {
      done = { result: await work(tx) }
      throw new Undone()
    })
    await undo.catch((error: unknown) => {
      if (!(error instanceof Undone)) throw error
    })
    if (done === undefined) throw new Error('Nothing was done.')
    return done.result
  }
}
class Undone extends Error {}

/** Clock (epoch milliseconds) and ids (UUIDv7) come from outside, so that a test can fix them. */
export type Means = { now: () => number; newId: () => string }

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** A text as an id to look for; null when it cannot be one, so that the database is not asked to cast it. */
export function idOrNull(text: string): string | null {
  return UUID.test(text) ? text : null
}

/** One page of a list in the order of ids: those after a cursor, which is the id of the last one seen. */
export type Page = { limit: number; after: string | null }
