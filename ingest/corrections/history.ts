import type { Pool } from 'pg'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { decodeOperation, OPERATION_PREFIX, type OperationKind, VOID_TYPE } from '../../schemas/event/operation.ts'
import type { Reader, TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { visibleSubjects } from '../../schemas/postgres/visible.postgres.ts'
import { rowsOfEvent, type StoredRow, waitingOperations } from './events.clickhouse.ts'
import { visibleHistory } from './visible-history.ts'

export type Payload = { type: string; subject: string; time: string; data: string }
export type EventCopy = Payload & { time_given: boolean; known_at: string }
export type EventOperation = {
  operation_id: string
  kind: OperationKind
  reason: string
  by: string
  known_at: string
  event?: Payload
}
export type EventHistory = {
  source: string
  id: string
  /** waits: an operation is known and the event is not. */
  state: 'counts' | 'voided' | 'waits'
  event?: Payload
  copies: EventCopy[]
  operations: EventOperation[]
}

const MOST_COPIES = 1_000
/** A void of an unknown event is listed this long. It goes on holding the event back should it come later. */
const WAITING_LISTED_MS = 35 * 86_400_000

/** One event as it counts now, of what the reader may see: copies and operations in the order they became known. */
export async function eventHistory(
  { pool, usage }: { pool: Pool; usage: ClickHouseStore },
  { tenantId, scope }: Reader,
  source: string,
  id: string,
): Promise<EventHistory> {
  const visible = scope === 'everything' ? scope : await withTenant(pool, tenantId, (tx) => visibleSubjects(tx, scope))
  const rows = await rowsOfEvent(usage, tenantId, source, id, MOST_COPIES)
  const seen = rows.length === 0 ? undefined : visibleHistory({ source, id, ...historyOf(rows) }, visible)
  if (!seen) throw new Problem('not_found', `No event ${id} of ${source} is known`)
  return seen
}

/** Rows in the order in which they became known. The rule is that of the view `effective_events`. */
export function historyOf(rows: readonly StoredRow[]): Omit<EventHistory, 'source' | 'id'> {
  const isOperation = (row: StoredRow) => row.type.startsWith(OPERATION_PREFIX)
  const copies = rows.filter((row) => !isOperation(row))
  const operations = new Map<string, EventOperation>()
  for (const row of rows.filter(isOperation)) {
    const operation = operationOf(row)
    if (!operations.has(operation.operation_id)) operations.set(operation.operation_id, operation)
  }
  const last = [...operations.values()].at(-1)
  const [first] = copies
  const known = { copies, operations: [...operations.values()] }
  if (!first) return { state: 'waits', ...known }
  if (last?.kind === 'void') return { state: 'voided', ...known }
  const { type, subject, time, data } = last?.event ?? first
  return { state: 'counts', event: { type, subject, time, data }, ...known }
}

export type WaitingOperation = EventOperation & { source: string; id: string }

/** Operations whose event is not known, younger than 35 days. */
export async function listWaiting(
  store: ClickHouseStore,
  tenant: TenantId,
  nowMs: number,
  limit: number,
): Promise<WaitingOperation[]> {
  const rows = await waitingOperations(store, tenant, nowMs - WAITING_LISTED_MS, limit)
  return rows.map(({ source, id, ...row }) => ({ source, id, ...operationOf(row) }))
}

function operationOf({ type, data, known_at }: { type: string; data: string; known_at: string }): EventOperation {
  const { operation, reason, by, event } = decodeOperation(data)
  const kind = type === VOID_TYPE ? 'void' : 'replace'
  const said = { operation_id: operation, kind, reason, by, known_at } as const
  if (!event) return said
  const { dataJson, ...same } = event
  return { ...said, event: { ...same, data: dataJson } }
}
