import type { Pool } from 'pg'
import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { type AcceptDeps, type Accepted, acceptEvents } from '../accept/accept.ts'
import { countOutcomes } from '../accept/outcome.ts'
import { isObject } from '../event-types/json.ts'
import { noBackfill } from './backfill.ts'
import { countOutcomesOf, holdBackfill } from './backfills.postgres.ts'

/** Appends events to an open backfill, under its source. */
export type BackfillAppender = (caller: Caller, id: string, events: readonly unknown[]) => Promise<Accepted[]>

/** Each takes a connection to Postgres while its events go into the log; other work needs some too. */
const MOST_APPENDS = 8

/**
 * Order of effects, and what a crash between them leaves: (1) the backfill is held open: a close or a revert waits for
 * it, so that nothing is appended after the revert has looked; (2) the events are appended as at any door; (3) the hold
 * ends; (4) their outcomes are counted: a crash before that leaves the counts short, never the events.
 * Quotas record and do not refuse: what is imported has been used.
 */
export function createBackfillAppender(deps: { pool: Pool; accept: AcceptDeps }): BackfillAppender {
  const accept: AcceptDeps = { ...deps.accept, enforceQuota: false, ofBackfill: true }
  let underWay = 0
  return async (caller, id, events) => {
    if (underWay >= MOST_APPENDS) {
      const detail = 'Too many backfills append at the moment: nothing of this request was kept, send it again'
      throw new Problem('overloaded', detail, { retryAfterSeconds: 1 })
    }
    underWay++
    try {
      const results = await withTenant(deps.pool, caller.tenantId, async (tx) => {
        const backfill = await holdBackfill(tx, id)
        if (!backfill) throw noBackfill(id)
        if (backfill.state !== 'open') {
          throw new Problem('illegal_state', `The backfill is ${backfill.state}: it takes no more events`)
        }
        return acceptEvents(accept, caller, underSource(events, backfill.source))
      })
      const counts = countOutcomes(results)
      await withTenant(deps.pool, caller.tenantId, (tx) => countOutcomesOf(tx, id, counts))
      return results
    } finally {
      underWay--
    }
  }
}

/** What is no object stays as it is, to be refused as at any door. */
function underSource(events: readonly unknown[], source: string): unknown[] {
  return events.map((event, index) => {
    if (!isObject(event)) return event
    if (event.source !== undefined && event.source !== null && event.source !== source) {
      const path = `${index}.source`
      const message = `must be left out: events of this backfill have the source ${source}`
      throw new Problem('invalid_request', 'An event has a source of its own.', { errors: [{ path, message }] })
    }
    return { ...event, source }
  })
}
