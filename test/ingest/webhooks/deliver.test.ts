import { pino } from 'pino'
import { v7 as newId } from 'uuid'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { putEndpoint, removeEndpoint, testEndpoint } from '../../../ingest/webhooks/change-endpoint.ts'
import { type DeliverDeps, deliverDue } from '../../../ingest/webhooks/deliver.ts'
import {
  claimDeliveries,
  endAttempt,
  listDeliveries,
  queueDeliveries,
} from '../../../ingest/webhooks/deliveries.postgres.ts'
import { keepDelivering } from '../../../ingest/webhooks/keep-delivering.ts'
import { messageOf, TOPICS } from '../../../ingest/webhooks/message.ts'
import { MOST_ATTEMPTS } from '../../../ingest/webhooks/retry.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { type Answering, isSigned, openReceiver, type Receiver } from './receiver.ts'

const NOW = Date.UTC(2026, 10, 20, 12)
const [TOPIC] = TOPICS
const HOUR_MS = 3_600_000

let database: TestDatabase
let tenant: number
let made = 0
let nowMs: number
const open: { close(): Promise<void> }[] = []

beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())
beforeEach(async () => {
  nowMs = NOW
  tenant = await database.createTenant(`t-${made++}`)
})
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

const attempted: string[] = []
const depsOf = (): DeliverDeps => ({
  pool: database.pool,
  now: () => nowMs,
  random: () => 1,
  allowPrivate: true,
  attempted: (outcome) => attempted.push(outcome),
})

async function receiver(answering?: Answering): Promise<Receiver> {
  const one = await openReceiver(answering)
  open.push(one)
  return one
}

type Hook = { id: string; secret: string }

async function hook(name: string, url: string, of = tenant): Promise<Hook> {
  const { endpoint, secret } = await putEndpoint(depsOf(), of, { name, url, topics: [TOPIC] })
  return { id: endpoint.id, secret: secret ?? '' }
}

async function tell(data: object, of = tenant, topic: string = TOPIC): Promise<string> {
  const message = messageOf(newId(), topic, nowMs, data)
  await withTenant(database.pool, of, (tx) => queueDeliveries(tx, [message], new Date(nowMs)))
  return message.id
}

const deliveriesTo = (id: string, of = tenant) =>
  withTenant(database.pool, of, (tx) => listDeliveries(tx, id, { before: undefined, limit: 100 }))

async function deliverAll(of = tenant): Promise<void> {
  while ((await deliverDue(depsOf(), of)) > 0);
}

describe('a message', () => {
  test('comes to every endpoint that subscribed, signed with its own secret, once', async () => {
    const [one, other] = [await receiver(), await receiver()]
    const hooks = [await hook('one', one.url), await hook('other', other.url)]
    const id = await tell({ level: '80%', subject: 'é' })
    await deliverAll()
    await deliverAll()
    for (const [place, { deliveries }] of [one, other].entries()) {
      const [delivery] = deliveries
      expect(deliveries).toHaveLength(1)
      expect(delivery?.headers['webhook-id']).toBe(id)
      expect(JSON.parse(delivery?.body ?? '')).toEqual({
        type: TOPIC,
        timestamp: new Date(NOW).toISOString(),
        data: { level: '80%', subject: 'é' },
      })
      expect(await isSigned(delivery!, hooks[place]?.secret ?? '', NOW)).toBe(true)
      expect(await isSigned(delivery!, hooks[1 - place]?.secret ?? '', NOW)).toBe(false)
      expect(await deliveriesTo(hooks[place]?.id ?? '')).toMatchObject([
        { eventId: id, state: 'delivered', attempts: 1, lastError: null, endedAt: new Date(NOW) },
      ])
    }
  })

  test('that is answered with 500 comes again a few seconds later, under the same id, with its own time and signature', async () => {
    const { url, deliveries } = await receiver((place) => (place === 0 ? 500 : 200))
    const { id, secret } = await hook('one', url)
    const event = await tell({ n: 1 })
    await deliverAll()
    expect(await deliveriesTo(id)).toMatchObject([
      { state: 'waiting', attempts: 1, lastError: 'answered 500', nextAttemptAt: new Date(NOW + 5_000) },
    ])
    nowMs += 4_999
    await deliverAll()
    expect(deliveries).toHaveLength(1)
    nowMs += 1
    await deliverAll()
    expect(deliveries.map(({ headers }) => headers['webhook-id'])).toEqual([event, event])
    expect(deliveries[1]?.body).toBe(deliveries[0]?.body)
    expect(deliveries[1]?.headers['webhook-timestamp']).toBe(String((NOW + 5_000) / 1000))
    expect(await isSigned(deliveries[1]!, secret, nowMs)).toBe(true)
    expect(await deliveriesTo(id)).toMatchObject([{ state: 'delivered', attempts: 2, lastError: null }])
  })

  test('is given up after a day, and only then', async () => {
    const { url, deliveries } = await receiver(() => 503)
    const { id } = await hook('one', url)
    await tell({ n: 1 })
    const attempts: number[] = []
    for (nowMs = NOW; nowMs < NOW + 48 * HOUR_MS; nowMs += HOUR_MS / 12) {
      const before = deliveries.length
      await deliverAll()
      if (deliveries.length > before) attempts.push(nowMs - NOW)
    }
    expect(attempts).toHaveLength(MOST_ATTEMPTS)
    expect(attempts.at(-1)).toBeGreaterThan(24 * HOUR_MS)
    expect(await deliveriesTo(id)).toMatchObject([
      { state: 'failed', attempts: MOST_ATTEMPTS, lastError: 'answered 503' },
    ])
  })

  test('is held up by no receiver that is away: the others get theirs', async () => {
    const gone = await receiver()
    const { url, deliveries } = await receiver()
    const [dead] = [await hook('dead', gone.url), await hook('alive', url)]
    await gone.close()
    open.splice(open.indexOf(gone), 1)
    await tell({ n: 1 })
    await deliverAll()
    expect(deliveries).toHaveLength(1)
    expect(await deliveriesTo(dead?.id ?? '')).toMatchObject([{ state: 'waiting', lastError: 'ECONNREFUSED' }])
  })

  test('for a webhook that was deleted is given up, and one of the same name that comes after it does not get it', async () => {
    const { url, deliveries } = await receiver(() => 500)
    const before = await hook('one', url)
    await tell({ n: 1 })
    await deliverAll()
    await removeEndpoint(depsOf(), tenant, 'one')
    expect(await deliveriesTo(before.id)).toMatchObject([{ state: 'failed', attempts: 1 }])
    await tell({ n: 2 })
    const after = await hook('one', url)
    nowMs += 48 * HOUR_MS
    await deliverAll()
    expect(deliveries).toHaveLength(1)
    expect(after.secret).not.toBe(before.secret)
    expect(await deliveriesTo(before.id)).toMatchObject([{ state: 'failed', lastError: 'the webhook was deleted' }])
    expect(await deliveriesTo(after.id)).toEqual([])
  })

  test('of a tenant comes to nobody else’s webhooks (EPIC-5)', async () => {
    const other = await database.createTenant(`t-${made++}`)
    const [mine, theirs] = [await receiver(), await receiver()]
    await hook('one', mine.url)
    await hook('one', theirs.url, other)
    await tell({ n: 1 })
    await deliverAll()
    await deliverAll(other)
    expect([mine.deliveries.length, theirs.deliveries.length]).toEqual([1, 0])
  })

  test('of a topic that nobody subscribed to comes to nobody', async () => {
    const { url, deliveries } = await receiver()
    const { id } = await hook('one', url)
    await tell({ n: 1 }, tenant, 'invoice.paid')
    await deliverAll()
    expect([deliveries, await deliveriesTo(id)]).toEqual([[], []])
  })

  test('that asks whether a webhook works is sent to it alone, whatever it subscribed to', async () => {
    const [one, other] = [await receiver(), await receiver()]
    await hook('one', one.url)
    await hook('other', other.url)
    const id = await testEndpoint(depsOf(), tenant, 'one')
    await deliverAll()
    expect(one.events()).toMatchObject([{ id, type: 'webhook.test', data: { webhook: 'one' } }])
    expect(other.deliveries).toEqual([])
  })
})

describe('several processes', () => {
  test('share what is due: each delivery is made by one', async () => {
    const { url, deliveries } = await receiver()
    await hook('one', url)
    for (let n = 0; n < 40; n++) await tell({ n })
    await Promise.all([deliverAll(), deliverAll(), deliverAll()])
    expect(deliveries).toHaveLength(40)
    expect(new Set(deliveries.map(({ headers }) => headers['webhook-id'])).size).toBe(40)
  })

  test('of which one was killed in an attempt: another makes it after the lease, under the same id', async () => {
    const { url, deliveries } = await receiver()
    const { id } = await hook('one', url)
    const event = await tell({ n: 1 })
    const claim = () =>
      withTenant(database.pool, tenant, (tx) => claimDeliveries(tx, new Date(nowMs), new Date(nowMs + 60_000), 10))
    const [killed] = await claim()
    expect(killed).toMatchObject({ eventId: event, attempts: 1 })
    await deliverAll()
    expect(deliveries).toEqual([])
    nowMs += 60_000
    await deliverAll()
    expect(deliveries.map(({ headers }) => headers['webhook-id'])).toEqual([event])
    // It was only slow, and says now how its attempt ended: that is over.
    const end = { error: 'late', nextAttemptAt: new Date(nowMs), at: new Date(nowMs) }
    await withTenant(database.pool, tenant, (tx) => endAttempt(tx, killed!, end))
    expect(await deliveriesTo(id)).toMatchObject([{ state: 'delivered', attempts: 2, lastError: null }])
  })
})

/** An attempt is counted when it begins: whoever is killed in it cannot count it any more. */
describe('attempts that kills interrupt', () => {
  const killedIn = async (times: number) => {
    for (let n = 0; n < times; n++) {
      const [at, leasedUntil] = [new Date(nowMs), new Date(nowMs + 60_000)]
      expect(await withTenant(database.pool, tenant, (tx) => claimDeliveries(tx, at, leasedUntil, 10))).toHaveLength(1)
      nowMs += 60_000
    }
  }

  test('are used up like failed ones: one that fails after seven of them is the last', async () => {
    const { url, deliveries } = await receiver(() => 503)
    const { id } = await hook('one', url)
    await tell({ n: 1 })
    await killedIn(MOST_ATTEMPTS - 1)
    await deliverAll()
    expect(deliveries).toHaveLength(1)
    expect(await deliveriesTo(id)).toMatchObject([{ state: 'failed', attempts: MOST_ATTEMPTS }])
  })

  test('are never the last: after eight of them it is sent once more', async () => {
    const { url, deliveries } = await receiver()
    const { id } = await hook('one', url)
    await tell({ n: 1 })
    await killedIn(MOST_ATTEMPTS)
    await deliverAll()
    expect(deliveries).toHaveLength(1)
    expect(await deliveriesTo(id)).toMatchObject([{ state: 'delivered', attempts: MOST_ATTEMPTS + 1 }])
  })
})

describe('the loop', () => {
  const loop = () => keepDelivering({ ...depsOf(), logger: pino({ level: 'silent' }) })

  test('finds what is due of all tenants, at the start and when it is told to look', async () => {
    const other = await database.createTenant(`t-${made++}`)
    const [mine, theirs] = [await receiver(), await receiver()]
    await hook('one', mine.url)
    await hook('one', theirs.url, other)
    await tell({ n: 1 })
    const delivering = loop()
    delivering.start()
    await expect.poll(() => mine.deliveries.length, { timeout: 30_000 }).toBe(1)
    await tell({ n: 2 }, other)
    delivering.look()
    await expect.poll(() => theirs.deliveries.length, { timeout: 30_000 }).toBe(1)
    await delivering.stop()
  })

  test('waits for the attempt under way when it stops, and begins no other one', async () => {
    let answer: () => void = () => undefined
    const { url, deliveries } = await receiver((_place, response) => {
      answer = () => response.writeHead(204).end()
      return undefined
    })
    const { id } = await hook('one', url)
    await tell({ n: 1 })
    const delivering = loop()
    delivering.start()
    await expect.poll(() => deliveries.length, { timeout: 30_000 }).toBe(1)
    let stopped = false
    const stopping = delivering.stop().then(() => {
      stopped = true
    })
    await tell({ n: 2 })
    delivering.look()
    expect(stopped).toBe(false)
    answer()
    await stopping
    expect(deliveries).toHaveLength(1)
    expect((await deliveriesTo(id)).map(({ state }) => state).sort()).toEqual(['delivered', 'waiting'])
  })
  /** The product is told to stop, and is killed if it does not: events that wait for the log come first. */
  test('stops in bounded time whatever hangs', async () => {
    const pool = new Proxy(database.pool, {
      get: (target, name) => (name === 'query' ? () => new Promise(() => undefined) : Reflect.get(target, name)),
    })
    const delivering = keepDelivering({ ...depsOf(), pool, logger: pino({ level: 'silent' }) }, 200)
    delivering.start()
    await delivering.stop()
  })

  test('goes on past a receiver that switches protocols, which no request asked for', async () => {
    const { url } = await receiver((_place, response) => {
      response.socket?.write('HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
      return undefined
    })
    const { id } = await hook('one', url)
    await tell({ n: 1 })
    const delivering = loop()
    delivering.start()
    const ends = async () => (await deliveriesTo(id)).map(({ lastError }) => lastError)
    await expect.poll(ends, { timeout: 30_000 }).toEqual(['answered 101'])
    await delivering.stop()
  })
})
