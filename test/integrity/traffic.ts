import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../support/random.ts'
import { cloudEvent, copyOf, type EventSource, keyOf, type TestEvent } from './events.ts'

/** What an emitter with a spool knows: what it made, what was acknowledged, what is still to be sent. */
export type Ledger = {
  events: Map<string, TestEvent>
  acknowledged: Set<string>
  /** Acknowledged events, for copies of them. */
  done: TestEvent[]
  waiting: TestEvent[]
  copiesSent: number
  failedRequests: number
  /** Outcomes that no event of the test should have. */
  surprises: string[]
}

export type Target = { url: string; key: string }

const CONNECTIONS = 4
const TICK_MS = 20
const COPY_SHARE = 0.05
const REQUEST_LIMIT_MS = 20_000

export function createLedger(): Ledger {
  return {
    events: new Map(),
    acknowledged: new Set(),
    done: [],
    waiting: [],
    copiesSent: 0,
    failedRequests: 0,
    surprises: [],
  }
}

/** New events join the waiting ones. */
export function emit(ledger: Ledger, source: EventSource, count: number): void {
  for (let made = 0; made < count; made++) {
    const event = source.next()
    ledger.events.set(keyOf(event), event)
    ledger.waiting.push(event)
  }
}

/** Emits at the rate and sends over a few connections, until it is told to stop. Resolves when nothing is under way. */
export async function sendTraffic(
  ledger: Ledger,
  source: EventSource,
  target: Target,
  perSecond: number,
  stopped: () => boolean,
): Promise<void> {
  const emitting = async () => {
    let last = performance.now()
    while (!stopped()) {
      await sleep(TICK_MS)
      const now = performance.now()
      emit(ledger, source, Math.round(((now - last) * perSecond) / 1000))
      last = now
    }
  }
  const sending = async () => {
    while (!stopped()) {
      if (ledger.waiting.length === 0) await sleep(TICK_MS / 2)
      else if (!(await sendBatch(ledger, source.random, target))) await sleep(TICK_MS)
    }
  }
  await Promise.all([emitting(), ...Array.from({ length: CONNECTIONS }, sending)])
}

/** Sends what waits until everything is acknowledged; the product must be there. */
export async function sendAll(ledger: Ledger, random: Random, target: Target): Promise<void> {
  while (ledger.waiting.length > 0 && ledger.surprises.length === 0) {
    if (!(await sendBatch(ledger, random, target))) await sleep(TICK_MS)
  }
}

type EventsAnswer = { outcomes?: { index: number; outcome: string; code?: string }[] }

/** One request of 50 to 100 events and some copies. What has no answer waits again, under the same ids. */
export async function sendBatch(ledger: Ledger, random: Random, target: Target): Promise<boolean> {
  const fresh = ledger.waiting.splice(0, 50 + random.below(51))
  const batch = fresh.flatMap((event) =>
    random.chance(COPY_SHARE) ? [event, drawCopy(ledger, event, random)] : [event],
  )
  const answer = await post(target, batch)
  if (!answer) {
    ledger.failedRequests += 1
    ledger.waiting.unshift(...fresh)
    return false
  }
  ledger.copiesSent += batch.length - fresh.length
  for (const { index, outcome, code } of answer) {
    const event = batch[index]
    if (!event) throw new Error(`There is no event ${index} in the batch`)
    if (outcome !== 'accepted' && outcome !== 'duplicate') ledger.surprises.push(`${keyOf(event)}: ${outcome} ${code}`)
    else acknowledge(ledger, event)
  }
  const silent = batch.length - answer.length
  if (silent !== 0) ledger.surprises.push(`${silent} events of a request have no outcome`)
  return true
}

/** Half the copies are of the event itself and stand in the same request; the others are of an acknowledged one. */
function drawCopy(ledger: Ledger, event: TestEvent, random: Random): TestEvent {
  return ledger.done.length === 0 || random.chance(0.5) ? event : copyOf(random.pick(ledger.done), random)
}

function acknowledge(ledger: Ledger, event: TestEvent): void {
  const key = keyOf(event)
  if (ledger.acknowledged.has(key)) return
  ledger.acknowledged.add(key)
  ledger.done.push(ledger.events.get(key) ?? event)
}

/** The outcomes, or undefined when there was no answer or one that asks for everything again. */
async function post(target: Target, batch: readonly TestEvent[]): Promise<EventsAnswer['outcomes']> {
  try {
    const response = await fetch(`${target.url}/api/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${target.key}`, 'content-type': 'application/json' },
      body: JSON.stringify(batch.map(cloudEvent)),
      signal: AbortSignal.timeout(REQUEST_LIMIT_MS),
    })
    const answer = (await response.json()) as EventsAnswer
    return response.status === 503 || !answer.outcomes ? undefined : answer.outcomes
  } catch {
    return undefined
  }
}
