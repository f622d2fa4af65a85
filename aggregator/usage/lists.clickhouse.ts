import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'

export type DeadLetter = {
  log: string
  partition: number
  offset: string
  known_at: string
  reason: string
  bytes_base64: string
}

/** Log records that could not be read. Whose they are is not known then: tenant 0 stands for that. */
export async function listDeadLetters(store: ClickHouseStore, tenant: TenantId, limit: number): Promise<DeadLetter[]> {
  return store.query<DeadLetter>(
    `SELECT log, partition, toString(log_offset) AS offset, ${isoTime('known_at')} AS known_at, reason, bytes_base64
     FROM dead_letters FINAL WHERE tenant = {tenant:UInt32}
     ORDER BY dead_letters.known_at DESC, partition, log_offset LIMIT {limit:UInt32}`,
    { tenant, limit },
  )
}

export type ConflictCopy = { type: string; subject: string; time: string; data: string; known_at: string }
export type EventConflict = {
  source: string
  id: string
  counted: ConflictCopy
  latest: ConflictCopy
  payloads: number
}

/** Identities that came with more than one payload: `counted` is the first copy, `latest` the last one to differ. */
export async function listConflicts(store: ClickHouseStore, tenant: TenantId, limit: number): Promise<EventConflict[]> {
  const rows = await store.query<{ source: string; id: string; counted: string[]; latest: string[]; payloads: string }>(
    `SELECT source, id, ${copyOf('first')} AS counted, ${copyOf('latest')} AS latest, toString(payloads) AS payloads
     FROM event_conflicts(tenant = {tenant:UInt32})
     ORDER BY event_conflicts.latest.5 DESC, source, id LIMIT {limit:UInt32}`,
    { tenant, limit },
  )
  return rows.map(({ counted, latest, payloads, ...identity }) => ({
    ...identity,
    counted: toCopy(counted),
    latest: toCopy(latest),
    payloads: Number(payloads),
  }))
}

const isoTime = (column: string) => `replaceOne(toString(${column}), ' ', 'T') || 'Z'`
const copyOf = (tuple: string) => {
  const column = `event_conflicts.${tuple}`
  return `[${column}.1, ${column}.2, ${isoTime(`${column}.3`)}, ${column}.4, ${isoTime(`${column}.5`)}]`
}

function toCopy([type = '', subject = '', time = '', data = '', known_at = '']: string[]): ConflictCopy {
  return { type, subject, time, data, known_at }
}
