import { v7 as uuidV7 } from 'uuid'
import { apiOf } from '../../support/api.ts'
import { eventually } from '../../support/product.ts'
import type { Random } from '../../support/random.ts'
import { SUBJECTS } from '../catalog.ts'
import { cloudEvent, copyOf, keyOf, type TestEvent } from '../events.ts'
import { countedProblems, type OutageTenant, type OutageWorld, storedProblems } from './outage-world.ts'
import { lagOf } from './outage-writes.ts'

const CROCKFORD = [...'0123456789ABCDEFGHJKMNPQRSTVWXYZ']
const EVENTS_PER_REQUEST = 100
const CONNECTIONS = 8

/** Ids as emitters make them. Of the last kind nobody can tell when they were made. */
export const ID_KINDS: Record<string, (random: Random, timeMs: number) => string> = {
  UUIDv7: (_random, msecs) => uuidV7({ msecs }),
  ULID: (random, timeMs) => {
    const digits = Array.from({ length: 10 }, (_, place) => CROCKFORD[Math.floor(timeMs / 32 ** (9 - place)) % 32])
    return [...digits, ...Array.from({ length: 16 }, () => random.pick(CROCKFORD))].join('')
  },
  opaque: (random) => `row ${random.hex(8)}`,
}

/** An event with such an id, made and happened at the time. */
export function eventOf(kind: string, random: Random, timeMs: number): TestEvent {
  const id = ID_KINDS[kind]?.(random, timeMs) ?? ''
  const tokens = { context: random.below(4_000), generated: random.below(900) + 1 }
  return { id, source: `of ${kind}`, subject: random.pick(SUBJECTS), timeMs, ...tokens }
}

/** Sends events that the tenant's ledger does not know yet, each once, and notes them. */
export async function sendFirst(tenant: OutageTenant, events: readonly TestEvent[]): Promise<void> {
  for (const event of events) tenant.ledger.events.set(keyOf(event), event)
  await sendEach(tenant, events)
  for (const event of events) tenant.ledger.acknowledged.add(keyOf(event))
}

/** A copy of each: of some as it was, of others without its time or with another one. */
export async function sendCopies(tenant: OutageTenant, events: Iterable<TestEvent>): Promise<TestEvent[]> {
  const copies = [...events].map((event) => copyOf(event, tenant.source.random))
  await sendEach(tenant, copies)
  return copies
}

/** All are taken, over a few connections. Whichever process answers, it must; one that goes away is asked again. */
export async function sendEach(
  { target, ledger }: OutageTenant,
  events: readonly TestEvent[],
  most = EVENTS_PER_REQUEST,
) {
  const api = apiOf(target.url, target.key)
  let next = 0
  const sending = async () => {
    while (next < events.length) {
      const part = events.slice(next, next + most)
      next += most
      const send = () => api.send<Answer>('POST', '/events', part.map(cloudEvent)).catch(() => undefined)
      const answer = await eventually(send, (seen) => seen?.status === 202)
      for (const { outcome, code } of answer?.body.outcomes ?? [{ outcome: 'no answer' }])
        if (outcome !== 'accepted') ledger.surprises.push(`an event was answered with ${outcome} ${code}`)
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, sending))
}
type Answer = { outcomes: { outcome: string; code?: string }[] }

/** What is wrong once everything that is in the log has been stored. */
export async function settledProblems(world: OutageWorld, tenant: OutageTenant): Promise<string[]> {
  const lag = await eventually(
    () => lagOf(world),
    (records) => records === 0,
    60_000,
  )
  const behind = lag === 0 ? [] : [`${lag} log records are not stored`]
  return [
    ...tenant.ledger.surprises,
    ...behind,
    ...(await storedProblems(world, tenant)),
    ...(await countedProblems(tenant)),
  ]
}

/** Shards of the tenant's events that were never rebuilt. */
export async function neverRebuilt({ rig }: OutageWorld, { id }: OutageTenant): Promise<number> {
  const [row] = await rig.ask.clickhouse<{ shards: string }>(
    `SELECT toString(uniqExact(shard)) AS shards FROM events
     WHERE tenant = ${id} AND shard NOT IN (SELECT shard FROM shard_heads WHERE tenant = ${id})`,
  )
  return Number(row?.shards)
}

export type Conflict = { source: string; id: string; payloads: number; counted: { time: string; data: string } }

/** All that the API lists. */
export async function readConflicts({ api }: OutageTenant): Promise<Conflict[]> {
  const conflicts: Conflict[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const path: string = `/event-conflicts?limit=1000${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`
    const page: { event_conflicts: Conflict[]; next: string | null } = await api.call('GET', path)
    conflicts.push(...page.event_conflicts)
    cursor = page.next
  }
  return conflicts
}
