import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'
import type { Message } from './message.ts'

/** Queues messages for every endpoint that subscribed to their topic. */
export async function queueDeliveries(tx: TenantTransaction, messages: readonly Message[], at: Date): Promise<void> {
  await tx.query(
    `INSERT INTO webhook_deliveries (tenant_id, endpoint_id, event_id, topic, payload, state, next_attempt_at, created_at)
     SELECT app_tenant(), webhook_endpoints.id, message.id, topic, payload::json, 'waiting', $4::timestamptz,
       $4::timestamptz
     FROM unnest($1::uuid[], $2::text[], $3::text[]) AS message (id, topic, payload)
     JOIN webhook_endpoints ON topic = ANY (topics) AND deleted_at IS NULL`,
    [messages.map(({ id }) => id), messages.map(({ topic }) => topic), messages.map(({ payload }) => payload), at],
  )
}

/** Queues a message for one endpoint, whatever it subscribed to. */
export async function queueDelivery(
  tx: TenantTransaction,
  endpointId: string,
  { id, topic, payload }: Message,
  at: Date,
): Promise<void> {
  await tx.query(
    `INSERT INTO webhook_deliveries (tenant_id, endpoint_id, event_id, topic, payload, state, next_attempt_at, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, 'waiting', $5, $5)`,
    [endpointId, id, topic, payload, at],
  )
}

/** Tenants with deliveries that are due, whose has waited longest first. */
export async function tenantsDue(pool: Pool, at: Date): Promise<TenantId[]> {
  const { rows } = await pool.query<{ tenant_id: TenantId }>('SELECT tenant_id FROM tenants_with_due_webhooks($1)', [
    at,
  ])
  return rows.map((row) => row.tenant_id)
}

/** A delivery that is this process's for a while. No secret: its endpoint was deleted meanwhile. */
export type Claimed = {
  endpointId: string
  eventId: string
  payload: string
  attempts: number
  url: string
  secret: string | null
  /** The webhook's name, and whose it is. */
  endpoint: string
  tenant: string
  /** The mail addresses that have taken it. */
  takenBy: string[]
}

/** Takes deliveries that are due and that no other process takes: their next attempt is due at `leasedUntil`. */
export async function claimDeliveries(
  tx: TenantTransaction,
  at: Date,
  leasedUntil: Date,
  most: number,
): Promise<Claimed[]> {
  const { rows } = await tx.query<Claimed>(
    `WITH due AS MATERIALIZED (
       SELECT endpoint_id, event_id FROM webhook_deliveries WHERE state = 'waiting' AND next_attempt_at <= $1
       ORDER BY next_attempt_at, event_id LIMIT $3 FOR UPDATE SKIP LOCKED
     )
     UPDATE webhook_deliveries AS taken SET attempts = attempts + 1, next_attempt_at = $2
     FROM due JOIN webhook_endpoints ON id = due.endpoint_id
     WHERE taken.endpoint_id = due.endpoint_id AND taken.event_id = due.event_id
     RETURNING taken.endpoint_id AS "endpointId", taken.event_id AS "eventId", payload::text AS payload, attempts, url,
       secret, name AS endpoint, taken_by AS "takenBy",
       (SELECT slug FROM tenants WHERE tenants.tenant_id = app_tenant()) AS tenant`,
    [at, leasedUntil, most],
  )
  return rows
}

/** Until the end of the transaction no other one of the tenant counts copies of mails. */
export async function lockMails(tx: TenantTransaction): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtextextended('webhook mails', app_tenant()))")
}

/** Copies of mails begun since then; of a delivery that still waits, or ended since, all of them. */
export async function copiesMailed(tx: TenantTransaction, since: Date): Promise<number> {
  const { rows } = await tx.query<{ mailed: number }>(
    `SELECT coalesce(sum(mailed), 0)::integer AS mailed FROM webhook_deliveries
     WHERE mailed > 0 AND (ended_at IS NULL OR ended_at > $1)`,
    [since],
  )
  return rows[0]?.mailed ?? 0
}

/** Counts copies of mails that are about to be sent. */
export async function countCopies(tx: TenantTransaction, copies: ReadonlyMap<Claimed, number>): Promise<void> {
  const mails = [...copies.keys()]
  await tx.query(
    `UPDATE webhook_deliveries AS delivery SET mailed = mailed + mail.copies
     FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS mail (endpoint_id, event_id, copies)
     WHERE delivery.endpoint_id = mail.endpoint_id AND delivery.event_id = mail.event_id`,
    [mails.map(({ endpointId }) => endpointId), mails.map(({ eventId }) => eventId), [...copies.values()]],
  )
}

/** How an attempt ended. A failed one with `nextAttemptAt` is tried again then. `takenBy`: by mail, of all attempts. */
export type AttemptEnd = {
  error: string | undefined
  nextAttemptAt: Date | undefined
  at: Date
  takenBy?: readonly string[]
}

/**
 * Notes the end of an attempt, unless a later one has begun, because this one took longer than its lease. Of a delivery
 * that was given up meanwhile only who has taken it is noted.
 */
export async function endAttempt(
  tx: TenantTransaction,
  { endpointId, eventId, attempts }: Pick<Claimed, 'endpointId' | 'eventId' | 'attempts'>,
  { error, nextAttemptAt, at, takenBy = [] }: AttemptEnd,
): Promise<void> {
  const state = error === undefined ? 'delivered' : nextAttemptAt ? 'waiting' : 'failed'
  await tx.query(
    `UPDATE webhook_deliveries SET taken_by = $8,
       state = CASE state WHEN 'waiting' THEN $4 ELSE state END,
       last_error = CASE state WHEN 'waiting' THEN $5 ELSE last_error END,
       next_attempt_at = CASE state WHEN 'waiting' THEN $6 ELSE next_attempt_at END,
       ended_at = CASE state WHEN 'waiting' THEN $7 ELSE ended_at END
     WHERE endpoint_id = $1 AND event_id = $2 AND attempts = $3`,
    [
      endpointId,
      eventId,
      attempts,
      state,
      error ?? null,
      nextAttemptAt ?? at,
      state === 'waiting' ? null : at,
      takenBy,
    ],
  )
}

/** Ends what waits for an endpoint. */
export async function giveUpDeliveries(
  tx: TenantTransaction,
  endpointId: string,
  why: string,
  at: Date,
): Promise<void> {
  await tx.query(
    `UPDATE webhook_deliveries SET state = 'failed', last_error = $2, ended_at = $3
     WHERE endpoint_id = $1 AND state = 'waiting'`,
    [endpointId, why, at],
  )
}

export type ListedDelivery = {
  eventId: string
  topic: string
  state: 'waiting' | 'delivered' | 'failed'
  attempts: number
  nextAttemptAt: Date
  lastError: string | null
  createdAt: Date
  endedAt: Date | null
  takenBy: string[]
  payload: unknown
}

/** Deliveries to an endpoint, the newest event first. */
export async function listDeliveries(
  tx: TenantTransaction,
  endpointId: string,
  { before, limit }: { before: string | undefined; limit: number },
): Promise<ListedDelivery[]> {
  const { rows } = await tx.query<ListedDelivery>(
    `SELECT event_id AS "eventId", topic, state, attempts, next_attempt_at AS "nextAttemptAt",
       last_error AS "lastError", created_at AS "createdAt", ended_at AS "endedAt", taken_by AS "takenBy",
       payload
     FROM webhook_deliveries WHERE endpoint_id = $1 AND ($2::uuid IS NULL OR event_id < $2)
     ORDER BY event_id DESC LIMIT $3`,
    [endpointId, before ?? null, limit],
  )
  return rows
}
