import { pino } from 'pino'
import { v7 as newId } from 'uuid'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { putEndpoint, removeEndpoint, testEndpoint } from '../../../ingest/webhooks/change-endpoint.ts'
import { type DeliverDeps, deliverDue } from '../../../ingest/webhooks/deliver.ts'
import { claimDeliveries, listDeliveries, queueDeliveries } from '../../../ingest/webhooks/deliveries.postgres.ts'
import { keepDelivering } from '../../../ingest/webhooks/keep-delivering.ts'
import type { Mailer } from '../../../ingest/webhooks/mail.ts'
import { messageOf, TOPICS } from '../../../ingest/webhooks/message.ts'
import { MOST_ATTEMPTS } from '../../../ingest/webhooks/retry.ts'
import { createMailer } from '../../../ingest/webhooks/send-mail.smtp.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { type Answers, type MailServer, openMailServer } from './mail-server.ts'
import { openReceiver } from './receiver.ts'

/** Issue 6: alerts by mail, from the outbox of webhooks through real Postgres and real SMTP servers. */
const NOW = Date.UTC(2026, 10, 20, 12)
const [TOPIC] = TOPICS
const HOUR_MS = 3_600_000
const FINANCE = 'mailto:finance@example.com'

let database: TestDatabase
let tenant: number
let made = 0
let nowMs: number
let mailer: Mailer | undefined
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

async function mailServer(answers?: Answers): Promise<MailServer> {
  const one = await openMailServer(answers)
  open.push(one)
  mailer = createMailer(one.settings, { timeoutMs: 60_000 })
  return one
}

const depsOf = (): DeliverDeps => ({
  pool: database.pool,
  now: () => nowMs,
  random: () => 1,
  allowPrivate: true,
  mailer,
  attempted: () => undefined,
})

async function hook(name: string, url = FINANCE, of = tenant): Promise<string> {
  const allowed = { ...depsOf(), sendsMail: true }
  return (await putEndpoint(allowed, of, { name, url, topics: [TOPIC] })).endpoint.id
}

async function tell(level: string, of = tenant, times = 1): Promise<string> {
  const alert = { feature: 'tokens', subject: 's', level, used: '8', limit: '10' }
  const messages = Array.from({ length: times }, () => messageOf(newId(), TOPIC, nowMs, alert))
  await withTenant(database.pool, of, (tx) => queueDeliveries(tx, messages, new Date(nowMs)))
  return messages[0]?.id ?? ''
}

const deliveriesTo = (id: string, of = tenant) =>
  withTenant(database.pool, of, (tx) => listDeliveries(tx, id, { before: undefined, limit: 999 }))

async function deliverAll(of = tenant): Promise<void> {
  while ((await deliverDue(depsOf(), of)) > 0);
}

describe('an alert', () => {
  test('is mailed to whom a webhook names, and posted to another, once each', async () => {
    const { received } = await mailServer()
    const other = await openReceiver()
    open.push(other)
    const [finance] = [await hook('finance', 'mailto:finance@example.com,b@example.com'), await hook('chat', other.url)]
    const event = await tell('80%')
    await deliverAll()
    await deliverAll()
    expect(received).toHaveLength(1)
    expect(received[0]).toMatchObject({ to: ['finance@example.com', 'b@example.com'] })
    expect(received[0]?.headers.get('subject')).toBe(`[t-${made - 1}] tokens: s has reached 80% (8 of 10 used)`)
    expect(received[0]?.text).toContain(`Sent by Tallyline because t-${made - 1} set this address up`)
    expect(received[0]?.text).toContain('(DELETE /api/v1/webhooks/finance)')
    expect(other.events()).toMatchObject([{ id: event, type: TOPIC }])
    expect(await deliveriesTo(finance ?? '')).toMatchObject([
      { eventId: event, state: 'delivered', attempts: 1, lastError: null, takenBy: received[0]?.to },
    ])
  })

  test.each([
    ['for the moment (4xx)', 451],
    ['for good (5xx)', 554],
  ])('that is refused %s comes again a few seconds later, as the same mail', async (_what, status) => {
    const { received } = await mailServer({ mail: (place) => (place === 0 ? status : undefined) })
    const id = await hook('finance')
    const event = await tell('80%')
    await deliverAll()
    expect(await deliveriesTo(id)).toMatchObject([
      { state: 'waiting', lastError: `answered ${status}`, takenBy: [], nextAttemptAt: new Date(NOW + 5_000) },
    ])
    nowMs += 5_000
    await deliverAll()
    expect(received.map(({ headers }) => headers.get('message-id'))).toEqual([`<${event}.${id}@tally.example>`])
    expect(received[0]?.headers.get('date'), 'that of the event').toBe('Fri, 20 Nov 2026 12:00:00 +0000')
    expect(await deliveriesTo(id)).toMatchObject([{ state: 'delivered', attempts: 2, lastError: null }])
  })

  test('that some of its receivers refuse comes again to these alone, until it is given up', async () => {
    let refuses = ['b@example.com', 'c@example.com']
    const { received } = await mailServer({ recipient: (address) => (refuses.includes(address) ? 450 : undefined) })
    const id = await hook('finance', 'mailto:a@example.com,b@example.com,c@example.com')
    await tell('80%')
    await deliverAll()
    expect(await deliveriesTo(id)).toMatchObject([
      { state: 'waiting', lastError: 'answered 450', takenBy: ['a@example.com'] },
    ])
    refuses = ['c@example.com']
    nowMs += 5_000
    await deliverAll()
    for (; nowMs < NOW + 48 * HOUR_MS; nowMs += HOUR_MS) await deliverAll()
    expect(received.map(({ to }) => to)).toEqual([['a@example.com'], ['b@example.com']])
    expect(new Set(received.map(({ headers }) => headers.get('message-id'))).size).toBe(1)
    expect(await deliveriesTo(id)).toMatchObject([
      { ...{ state: 'failed', attempts: MOST_ATTEMPTS }, takenBy: ['a@example.com', 'b@example.com'] },
    ])
  })

  test('goes to whom the webhook names by then, and is over when all of these have it', async () => {
    const { received } = await mailServer({ recipient: (address) => (address === 'b@example.com' ? 550 : undefined) })
    const id = await hook('finance', 'mailto:a@example.com,b@example.com')
    await tell('80%')
    await deliverAll()
    await hook('finance', 'mailto:a@example.com')
    nowMs += 5_000
    await deliverAll()
    expect(received).toHaveLength(1)
    expect(await deliveriesTo(id)).toMatchObject([{ state: 'delivered', attempts: 2, takenBy: ['a@example.com'] }])
  })

  test('waits for a mail server that is away, and comes when it is back', async () => {
    const before = await mailServer()
    const id = await hook('finance')
    await before.close()
    open.pop()
    await tell('80%')
    await deliverAll()
    expect(await deliveriesTo(id)).toMatchObject([{ state: 'waiting', lastError: 'ECONNREFUSED' }])
    const { received } = await openMailServer({ port: before.port }).then((one) => {
      open.push(one)
      return one
    })
    nowMs += 5_000
    await deliverAll()
    expect(received).toHaveLength(1)
    expect(await deliveriesTo(id)).toMatchObject([{ state: 'delivered', attempts: 2 }])
  })

  test('is not lost when mail is set up no more: it says so, and comes when it is again', async () => {
    const { received, settings } = await mailServer()
    const id = await hook('finance')
    await tell('80%')
    mailer = undefined
    await deliverAll()
    expect(await deliveriesTo(id)).toMatchObject([{ state: 'waiting', attempts: 1, lastError: 'MAIL_NOT_SET_UP' }])
    mailer = createMailer(settings)
    nowMs += 5_000
    await deliverAll()
    expect(received).toHaveLength(1)
  })

  test('in whose attempt a process was killed is mailed by another after the lease, as the same mail', async () => {
    const { received } = await mailServer()
    const id = await hook('finance')
    const event = await tell('80%')
    const [at, leasedUntil] = [new Date(nowMs), new Date(nowMs + 60_000)]
    expect(await withTenant(database.pool, tenant, (tx) => claimDeliveries(tx, at, leasedUntil, 10))).toMatchObject([
      { eventId: event, endpoint: 'finance', tenant: `t-${made - 1}`, takenBy: [] },
    ])
    await deliverAll()
    expect(received).toEqual([])
    nowMs += 60_000
    await deliverAll()
    expect(received.map(({ headers }) => headers.get('message-id'))).toEqual([`<${event}.${id}@tally.example>`])
    expect(await deliveriesTo(id)).toMatchObject([{ state: 'delivered', attempts: 2 }])
  })
})

/** Whoever is mailed to was not asked: a tenant cannot have the operator write to the world without bound. */
describe('a thousand copies', () => {
  test('are the most in a day of a tenant; the others wait, and another tenant does not', async () => {
    const { received } = await mailServer()
    const many = (letter: string) => Array.from({ length: 10 }, (_, n) => `${letter}${n}@example.com`).join(',')
    const id = await hook('many', `mailto:${many('a')}`)
    await tell('80%', tenant, 99)
    await deliverAll()
    expect(received).toHaveLength(99)
    await hook('others', `mailto:${many('b')}`)
    nowMs += HOUR_MS
    await tell('90%', tenant, 1)
    await deliverAll()
    expect(received, 'one of the two came to 1,000').toHaveLength(100)
    const sent = received.flatMap(({ to }) => to).length
    expect(sent).toBe(1_000)
    const other = await database.createTenant(`t-${made++}`)
    await hook('finance', FINANCE, other)
    await tell('80%', other)
    await deliverAll(other)
    expect(received).toHaveLength(101)
    // A day after the first 99 there is room for what waited.
    nowMs = NOW + 25 * HOUR_MS
    await deliverAll()
    expect(received).toHaveLength(102)
    expect((await deliveriesTo(id)).every(({ state }) => state === 'delivered')).toBe(true)
  })

  /** As if so many copies had been sent. */
  const mailed = (id: string, copies: number) =>
    withTenant(database.pool, tenant, (tx) =>
      tx.query(
        `INSERT INTO webhook_deliveries (tenant_id, endpoint_id, event_id, topic, payload, state, next_attempt_at,
           created_at, ended_at, mailed)
         VALUES (app_tenant(), $1, $2, 'webhook.test', '{}', 'delivered', $3, $3, $3, $4)`,
        [id, newId(), new Date(NOW), copies],
      ),
    )
  const limited = async (id: string) =>
    (await deliveriesTo(id)).filter(({ lastError }) => lastError === 'MAIL_LIMIT_REACHED')

  /** A tenant that deleted the webhook while its mails were under way had them sent, and not counted. */
  test('count though the webhook is deleted while they are under way; who took them is noted', async () => {
    const under: (() => void)[] = []
    const { received } = await mailServer({
      mail: () => new Promise((done) => under.push(() => done(undefined))),
    })
    const gone = await hook('gone', 'mailto:a@example.com,b@example.com')
    await mailed(gone, 998)
    await tell('80%')
    const delivering = deliverAll()
    await expect.poll(() => under.length, { timeout: 30_000 }).toBe(1)
    await removeEndpoint(depsOf(), tenant, 'gone')
    under[0]?.()
    await delivering
    expect(received).toHaveLength(1)
    expect((await deliveriesTo(gone))[0]).toMatchObject({
      ...{ state: 'failed', attempts: 1, lastError: 'the webhook was deleted', endedAt: new Date(NOW) },
      takenBy: ['a@example.com', 'b@example.com'],
    })
    const id = await hook('again')
    await tell('90%')
    await deliverAll()
    expect(under).toHaveLength(1)
    expect(await limited(id)).toHaveLength(1)
  })

  /** An address that refuses was written to all the same: who is refused by the world is soon refused by every server. */
  test.each([
    ['are refused', { recipient: () => 550 }, 60_000, 'answered 550'],
    ['nobody answers for in time', { mail: () => new Promise<undefined>(() => undefined) }, 1_000, 'no answer in time'],
  ])('count that %s', async (_what, answers, timeoutMs, error) => {
    const { settings } = await mailServer(answers)
    mailer = createMailer(settings, { timeoutMs })
    const id = await hook('finance', 'mailto:a@example.com,b@example.com')
    await mailed(id, 998)
    await tell('80%')
    await deliverAll()
    expect((await deliveriesTo(id)).map(({ lastError }) => lastError)).toContain(error)
    await tell('90%')
    await deliverAll()
    expect(await limited(id)).toHaveLength(1)
  })

  test('are the most, however many processes send at once', async () => {
    const { received } = await mailServer()
    const id = await hook('finance')
    await mailed(id, 975)
    await tell('80%', tenant, 40)
    await Promise.all(Array.from({ length: 4 }, () => deliverDue(depsOf(), tenant)))
    await deliverAll()
    expect(received).toHaveLength(25)
    expect(await limited(id)).toHaveLength(15)
  })

  /** What waits for nobody is over, and does not wait for a day with room. */
  test('keep no delivery waiting that all of its addresses have, nor does a server that is not set up', async () => {
    await mailServer({ recipient: (address) => (address === 'a@example.com' ? undefined : 550) })
    for (const without of [false, true]) {
      const id = await hook(`finance-${without}`, 'mailto:a@example.com,b@example.com')
      const event = await tell('80%')
      await deliverAll()
      await hook(`finance-${without}`, 'mailto:a@example.com')
      await mailed(id, 1_001)
      if (without) mailer = undefined
      nowMs += 5_000
      await deliverAll()
      const delivery = (await deliveriesTo(id)).find(({ eventId }) => eventId === event)
      expect(delivery).toMatchObject({ state: 'delivered', attempts: 2, lastError: null })
      await withTenant(database.pool, tenant, (tx) => tx.query('UPDATE webhook_deliveries SET mailed = 0'))
      await removeEndpoint(depsOf(), tenant, `finance-${without}`)
    }
  })

  test('count that were asked for to try a webhook, and one that waits says why', async () => {
    const { received } = await mailServer()
    const id = await hook('finance')
    await mailed(id, 999)
    for (let n = 0; n < 2; n++) {
      await testEndpoint(depsOf(), tenant, 'finance')
      await deliverAll()
    }
    expect(received).toHaveLength(1)
    expect(received[0]?.headers.get('subject')).toBe(`[t-${made - 1}] test of the webhook finance`)
    const waiting = (await deliveriesTo(id)).filter(({ state }) => state === 'waiting')
    expect(waiting).toMatchObject([{ attempts: 1, lastError: 'MAIL_LIMIT_REACHED', takenBy: [] }])
  })
})

test('a stop waits for the mail that is under way, and leaves no connection', async () => {
  let take: (() => void) | undefined
  const { received, connections } = await mailServer({
    mail: () =>
      new Promise((done) => {
        take = () => done(undefined)
      }),
  })
  const id = await hook('finance')
  await tell('80%')
  const delivering = keepDelivering({ ...depsOf(), logger: pino({ level: 'silent' }) }, 60_000)
  delivering.start()
  await expect.poll(() => take, { timeout: 30_000 }).toBeDefined()
  let stopped = false
  const stopping = delivering.stop().then(() => {
    stopped = true
  })
  await deliveriesTo(id)
  expect(stopped).toBe(false)
  take?.()
  await stopping
  expect(received).toHaveLength(1)
  expect(await deliveriesTo(id)).toMatchObject([{ state: 'delivered', attempts: 1 }])
  await expect.poll(connections, { timeout: 30_000 }).toBe(0)
})
