import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { apiOf } from '../../support/api.ts'
import { eventually } from '../../support/product.ts'
import { METERS } from '../catalog.ts'
import { cloudEvent, keyOf, type TestEvent } from '../events.ts'
import { msUntil, type OutageTenant, type OutageWorld } from './outage-world.ts'
import { flushRedis } from './server-control.ts'

const SUBJECT = 'limited'
const LIMIT = 6_000
const SENDERS = 4
const EVENTS_PER_REQUEST = 20
const MORE = 1_000

type Outcome = { outcome: string; quota_remaining?: string }
type Answer = { outcomes?: Outcome[] }
type Usage = { total: { quantity: string } }

/** What the emitters were answered. Each event draws one unit. */
type Admitted = { keys: Set<string>; refused: number; withoutAnswer: number }

/**
 * Emitters use up a limit over some ingest processes, while Redis is flushed, then killed and started again with what
 * it has, then flushed and killed at once, which is a start without anything. Answers what is wrong, in sentences
 * (design.md §6: after a flush a closed meter admits nothing beyond its limit), and figures.
 */
export async function flushUnderLimit(world: OutageWorld, tenant: OutageTenant, urls: readonly string[]) {
  const { redis } = world.stack
  const limit = (units: number) =>
    tenant.api.call('PUT', `/quota/${SUBJECT}/${METERS.context}`, { limit: String(units), window: 'month' })
  await limit(LIMIT)
  const admitted: Admitted = { keys: new Set(), refused: 0, withoutAnswer: 0 }
  const admits = (units: number) => msUntil(() => admitted.keys.size >= units || admitted.refused > 0)
  const senders = Array.from({ length: SENDERS }, (_, index) =>
    sendUntilRefused(admitted, urls[index % urls.length] ?? '', tenant),
  )
  await admits(LIMIT / 5)
  await flushRedis(redis.url)
  await admits((LIMIT * 2) / 5)
  await redis.kill()
  await sleep(300)
  await redis.restart()
  await admits((LIMIT * 3) / 5)
  await flushRedis(redis.url)
  await redis.kill()
  await redis.restart()
  const usedUpMs = await msUntil(async () => admitted.refused >= SENDERS * EVENTS_PER_REQUEST)
  await Promise.all(senders)
  for (const key of admitted.keys) tenant.ledger.acknowledged.add(key)
  const problems = [
    ...(admitted.keys.size <= LIMIT ? [] : [`${admitted.keys.size} units were admitted of ${LIMIT}`]),
    ...(await rebuiltProblems(world, tenant, admitted, urls, limit)),
  ]
  const { refused, withoutAnswer } = admitted
  return { problems, figures: { limit: LIMIT, admitted: admitted.keys.size, refused, withoutAnswer, usedUpMs } }
}

/** With nothing under way, every process finds the counter at exactly what was used. */
async function rebuiltProblems(
  { stack }: OutageWorld,
  tenant: OutageTenant,
  admitted: Admitted,
  urls: readonly string[],
  limit: (units: number) => Promise<unknown>,
): Promise<string[]> {
  const used = admitted.keys.size
  const usage = await eventually(
    async () => (await tenant.api.call<Usage>('GET', `/usage?${QUERY}`)).total.quantity,
    (quantity) => quantity === String(used),
  )
  const problems = usage === String(used) ? [] : [`usage is ${usage} instead of ${used}`]
  await limit(LIMIT + MORE)
  await flushRedis(stack.redis.url)
  for (const [index, url] of urls.entries()) {
    const event = newEvent(tenant)
    const right = `accepted, ${LIMIT + MORE - used - index - 1} left`
    const send = () => post(url, tenant, [event])
    // The new limit may take a moment to reach every process; the event is the same each time.
    const outcomes = await eventually(send, (seen) => seen?.[0]?.outcome === 'accepted')
    const seen = `${outcomes?.[0]?.outcome}, ${outcomes?.[0]?.quota_remaining} left`
    if (seen !== right) problems.push(`after a flush ${url} answers ${seen} instead of ${right}`)
    tenant.ledger.acknowledged.add(keyOf(event))
  }
  return problems
}

const QUERY = `meter=${METERS.context}&subject=${SUBJECT}&from=2020-01-01T00:00:00Z&to=2090-01-01T00:00:00Z`

/** Sends new events until a whole request is refused; what has no answer is sent again until it has one. */
async function sendUntilRefused(admitted: Admitted, url: string, tenant: OutageTenant): Promise<void> {
  for (;;) {
    const batch = Array.from({ length: EVENTS_PER_REQUEST }, () => newEvent(tenant))
    let outcomes = await post(url, tenant, batch)
    while (!outcomes) {
      admitted.withoutAnswer += 1
      await sleep(50)
      outcomes = await post(url, tenant, batch)
    }
    let refused = 0
    for (const [index, { outcome }] of outcomes.entries()) {
      const event = batch[index]
      if (outcome === 'accepted' && event) admitted.keys.add(keyOf(event))
      else if (outcome === 'quota_exceeded') refused += 1
      else tenant.ledger.surprises.push(`a limited event was answered with ${outcome}`)
    }
    admitted.refused += refused
    if (refused === batch.length) return
  }
}

function newEvent({ source }: OutageTenant): TestEvent {
  return { ...source.next(), id: randomUUID(), source: 'limited', subject: SUBJECT, timeMs: undefined, context: 1 }
}

async function post(url: string, tenant: OutageTenant, events: readonly TestEvent[]): Promise<Outcome[] | undefined> {
  try {
    const { status, body } = await apiOf(url, tenant.target.key).send<Answer>('POST', '/events', events.map(cloudEvent))
    return status === 503 ? undefined : body.outcomes
  } catch {
    return undefined
  }
}
