import { setTimeout as sleep } from 'node:timers/promises'
import { v7 } from 'uuid'
import { type Claim, sum, taken } from './overspend-bound.ts'

export type BurstTarget = {
  /** Of the processes that are up, asked for each request. */
  urls: () => readonly string[]
  key: string
  subject: string
  meter: string
  type: string
}

/** Emitters that use up the limit of one subject, over all processes. */
export type Burst = {
  /** All that was asked of the limit. */
  claims: readonly Claim[]
  /** Resolves when so many units are used or held, and every lease that an emitter begins with is granted. */
  reaches(units: number): Promise<void>
  /** Units of events that were taken. */
  spent(): number
  /** Units of events that were refused. */
  refused(): number
  /** Requests without an answer that says what became of them; they were made again. */
  failures(): number
  /** When the limit is used up, and everything that was held as well. */
  done: Promise<void>
}

const EVENTS_PER_BATCH = 10
const LEASE_UNITS = 40
const RESERVED_UNITS = 25
/** Of each lease so much is used only after everybody was refused. */
const KEPT_UNITS = 5
/** No hold ends by its time. */
const HOLD_MS = 600_000
const [BATCH_EMITTERS, CONSUMERS, LEASE_HOLDERS] = [4, 4, 2]
const BETWEEN_TRIES_MS = 20
/** Anything else is a surprise, but 503. */
const ANSWERS = [200, 201, 202, 429]

type Answer = { status: number; body: Record<string, unknown> }
type Asked = Pick<Claim, 'kind' | 'units'> & { path: string; body: object; taken: (answer: Answer) => number }

/**
 * Batches of events, consume, leases whose events name them, and a reservation that is settled: each emitter goes on until
 * it is refused, making every request again until it is answered. What is held is used at the very end.
 */
export function startBurst(target: BurstTarget): Burst {
  const { subject, meter, type } = target
  const claims: Claim[] = []
  const kept: { place: number; hold: unknown; units: number }[] = []
  let failures = 0

  const ask = async (place: number, { path, body, ...asked }: Asked) => {
    const claim: Claim = { ...asked, sentMs: performance.now(), answeredMs: Number.POSITIVE_INFINITY, taken: 0 }
    claims.push(claim)
    const name = v7()
    for (;;) {
      const urls = target.urls()
      const answer = await post(`${urls[place % urls.length]}/api/v1${path}`, target.key, name, body)
      if (answer && ANSWERS.includes(answer.status)) {
        claim.taken = asked.taken(answer)
        claim.answeredMs = performance.now()
        return { units: claim.taken, body: answer.body }
      }
      if (answer && answer.status !== 503) throw new Error(`${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
      failures++
      await sleep(BETWEEN_TRIES_MS)
    }
  }
  const newEvent = (size: number, change = {}) => {
    return { specversion: '1.0', id: v7(), source: 'burst', type, subject, data: { size }, ...change }
  }
  const useHeld = (place: number, hold: unknown, units: number) => {
    const body = newEvent(units, { tallyhold: hold })
    return ask(place, { kind: 'held', units, path: '/events', body, taken: (answer) => accepted(answer) * units })
  }

  const sendBatches = async (place: number) => {
    for (let all = 1; all > 0; ) {
      const body = Array.from({ length: EVENTS_PER_BATCH }, () => newEvent(1))
      const { units } = await ask(place, {
        ...{ kind: 'event', units: EVENTS_PER_BATCH, path: '/events', body, taken: accepted },
      })
      all = units
    }
  }
  const consume = async (place: number) => {
    for (let all = 1; all > 0; ) {
      const body = { subject, type, data: { size: 1 } }
      const path = '/quota/consume'
      all = (await ask(place, { kind: 'event', units: 1, path, body, taken: (answer) => unless429(answer, 1) })).units
    }
  }
  const useLeases = async (place: number) => {
    for (;;) {
      const body = { subject, meter, quantity: String(LEASE_UNITS), expires_in_ms: HOLD_MS }
      const takenOf = ({ body: { quantity } }: Answer) => Number(quantity)
      const lease = await ask(place, {
        ...{ kind: 'grant', units: LEASE_UNITS, path: '/quota/leases', body, taken: takenOf },
      })
      if (lease.units === 0) return
      const hold = lease.body.lease_id
      let { units } = lease
      for (; units > KEPT_UNITS; units--) await useHeld(place, hold, 1)
      kept.push({ place, hold, units })
    }
  }
  const reserve = async (place: number) => {
    const [path, units] = ['/quota/reserve', RESERVED_UNITS]
    const body = { subject, meter, quantity: String(units), expires_in_ms: HOLD_MS }
    const hold = await ask(place, { kind: 'grant', units, path, body, taken: (answer) => unless429(answer, units) })
    return { place, hold: hold.body.hold_id, units: hold.units }
  }
  const settle = async ({ place, hold, units }: Awaited<ReturnType<typeof reserve>>) => {
    const body = { hold_id: hold, event: newEvent(units) }
    await ask(place, { kind: 'held', units, path: '/quota/settle', body, taken: (answer) => unless429(answer, units) })
  }

  const spendAll = async () => {
    const times = (count: number, emit: (place: number) => Promise<void>) =>
      Array.from({ length: count }, (_, place) => emit(place))
    const [reserved] = await Promise.all([
      reserve(0),
      ...times(BATCH_EMITTERS, sendBatches),
      ...times(CONSUMERS, consume),
      ...times(LEASE_HOLDERS, useLeases),
    ])
    await Promise.all(kept.map(({ place, hold, units }) => useHeld(place, hold, units)))
    await settle(reserved)
  }

  const unitsOf = (...kinds: Claim['kind'][]) =>
    sum(
      claims.filter(({ kind }) => kinds.includes(kind)),
      taken,
    )
  const done = spendAll()
  // Awaited only after the fault: a surprise is told then.
  done.catch(() => undefined)
  return {
    claims,
    reaches: async (units) => {
      const isGranted = () => claims.filter((claim) => claim.kind === 'grant' && claim.taken > 0).length > LEASE_HOLDERS
      while (unitsOf('event', 'grant') < units || !isGranted()) {
        await Promise.race([
          sleep(2),
          done.then(() => Promise.reject(new Error('The limit was used up before the fault'))),
        ])
      }
    },
    spent: () => unitsOf('event', 'held'),
    refused: () =>
      sum(
        claims.filter(({ kind, answeredMs }) => kind !== 'grant' && answeredMs < Number.POSITIVE_INFINITY),
        ({ units, taken }) => units - taken,
      ),
    failures: () => failures,
    done,
  }
}

function accepted({ body }: Answer): number {
  return Number(body.accepted ?? 0)
}

function unless429({ status }: Answer, units: number): number {
  return status === 429 ? 0 : units
}

async function post(url: string, key: string, name: string, body: object): Promise<Answer | undefined> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'idempotency-key': name }
  try {
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
    return { status: response.status, body: (await response.json()) as Answer['body'] }
  } catch {
    return undefined
  }
}
