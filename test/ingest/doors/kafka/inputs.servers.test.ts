import avsc from 'avsc'
import type { Admin, Kafka, Message, Producer } from 'kafkajs'
import { CompressionTypes } from 'kafkajs'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createLogger } from '../../../../ops/host/logger.ts'
import { type Stack, startStack } from '../../../../ops/stack/stack.ts'
import { openKafka } from '../../../../ops/stores/kafka.kafka.ts'
import { EVENT_TYPE, METERS, openTenant, setUpMeters } from '../../../integrity/catalog.ts'
import { dieAt } from '../../../integrity/mortal.ts'
import { createServersRig, type ServersRig } from '../../../integrity/servers/rig.ts'
import { type Api, apiOf } from '../../../support/api.ts'
import { eventually } from '../../../support/product.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 180_000 })

const KILLED = { code: null, signal: 'SIGKILL' }
const PARTITIONS = 3

let stack: Stack
let rig: ServersRig
let tenant: Api
let kafka: Kafka
let admin: Admin
let producer: Producer

beforeAll(async () => {
  stack = await startStack({})
  rig = await createServersRig(stack.env, { processes: ['ingest-1', 'aggregator-1'] })
  tenant = apiOf(rig.url, await openTenant(apiOf(rig.url, rig.key), 'acme'))
  await setUpMeters(tenant)
  kafka = openKafka([stack.kafka.brokers], createLogger({ level: 'silent' }))
  admin = kafka.admin()
  producer = kafka.producer()
  await Promise.all([admin.connect(), producer.connect()])
})
afterAll(async () => {
  await Promise.allSettled([admin?.disconnect(), producer?.disconnect()])
  await rig?.remove()
  await stack?.stop()
})

/** As the operator makes a tenant's topic. */
async function createTopic(name: string): Promise<string> {
  const topic = `tallyline-input.acme.${name}`
  await admin.createTopics({
    waitForLeaders: false,
    topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1 }],
  })
  return topic
}

const data = (tokens: number) => ({ [METERS.context]: tokens, [METERS.generated]: 1 })
const event = (id: string, subject: string, tokens: number) => {
  return { specversion: '1.0', id, source: 'kafka-test', type: EVENT_TYPE, subject, data: data(tokens) }
}
const send = (topic: string, messages: Message[], compression = CompressionTypes.None) =>
  producer.send({ topic, messages, compression })
const json = (...events: object[]): Message => ({ value: JSON.stringify(events.length === 1 ? events[0] : events) })

async function usageOf(subject: string): Promise<number> {
  const [from, to] = [-86_400_000, 86_400_000].map((ms) => new Date(Date.now() + ms).toISOString())
  const query = `meter=${METERS.context}&subject=${subject}&from=${from}&to=${to}`
  const { total } = await tenant.call<{ total: { quantity: string } }>('GET', `/usage?${query}`)
  return Number(total.quantity)
}
const settled = (subject: string, quantity: number) =>
  eventually(
    () => usageOf(subject),
    (is) => is === quantity,
    60_000,
  )

type Rejection = { partition: number; offset: number; event_index: number | null; code: string; id: string | null }
const rejectionsOf = async (topic: string) =>
  (await tenant.call<{ rejections: Rejection[] }>('GET', `/kafka-inputs/${topic}/rejections`)).rejections
const rejected = (topic: string, count: number) =>
  eventually(
    () => rejectionsOf(topic),
    ({ length }) => length >= count,
    60_000,
  )

/** Of this life of the door. */
const metrics = async () => (await fetch(`${rig.process('ingest-1').url()}/metrics`)).text()
const accepted = async () =>
  Number(/billing_usage_total\{tenant="acme",outcome="accepted"\} (\d+)/.exec(await metrics())?.[1] ?? 0)

const AVRO = {
  type: 'record',
  name: 'Request',
  fields: [
    { name: 'request', type: 'string' },
    { name: 'customer', type: 'string' },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: METERS.context, type: 'long' },
    { name: METERS.generated, type: ['null', 'long'] },
    { name: 'tags', type: { type: 'array', items: 'null' } },
  ],
} as const
const avroType = avsc.Type.forSchema(AVRO as unknown as avsc.Schema)
const framed = (schemaId: number, payload: Buffer): Message => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(schemaId, 1)
  return { value: Buffer.concat([head, payload]) }
}

test('what is not the tenant’s topic cannot be registered', async () => {
  for (const topic of ['tallyline-input.other.usage', 'tallyline-input.acme', 'tallyline-events-0123', 'x']) {
    expect(await tenant.send('PUT', `/kafka-inputs/${topic}`, { format: 'json' })).toMatchObject({ status: 400 })
  }
})

test('CloudEvents that a producer writes as JSON arrive in usage, once, in every mode of the binding', async () => {
  const topic = await createTopic('json')
  await send(topic, [json(event('before', 'modes', 1))])
  await tenant.call('PUT', `/kafka-inputs/${topic}`, { format: 'json' })
  const { specversion, id, source, type, subject } = event('binary', 'modes', 10)
  const headers = { ce_specversion: specversion, ce_id: id, ce_source: source, ce_type: type, ce_subject: subject }
  await send(topic, [
    json(event('single', 'modes', 100)),
    json(event('one', 'modes', 1_000), event('two', 'modes', 10_000)),
    { value: JSON.stringify(data(10)), headers: { ...headers, 'content-type': 'application/json' } },
  ])
  await send(topic, [json(event('gzip', 'modes', 100_000)), json(event('single', 'modes', 100))], CompressionTypes.GZIP)
  expect(await settled('modes', 111_111)).toBe(111_111)
  expect(await rejectionsOf(topic)).toEqual([])
})

/** design §4.2: progress is recorded after the append; between the two a crash repeats records, and identity counts. */
test('killed between the append and the commit, the door reads the same records again, and they count once', async () => {
  const topic = await createTopic('killed')
  await tenant.call('PUT', `/kafka-inputs/${topic}`, { format: 'json' })
  const messages = Array.from({ length: 300 }, (_, n) => json(event(`k-${n}`, 'killed', 1)))
  const ingest = rig.process('ingest-1')
  const crash = await dieAt(ingest, 'append-durable', async () => {
    await send(topic, messages)
  })
  expect(crash).toEqual({ exit: KILLED, reached: 'append-durable' })
  await ingest.start()
  expect(await settled('killed', 300)).toBe(300)
  // This life has read all of them, also those that the one before it had appended: nothing had been committed.
  await eventually(accepted, (is) => is >= 300)
  expect(await accepted()).toBe(300)
  await send(topic, [json(event('k-after', 'killed', 1))])
  expect(await settled('killed', 301), 'and goes on').toBe(301)
})

test('a record that is refused is listed with its place, and those around it are taken', async () => {
  const topic = await createTopic('refused')
  await tenant.call('PUT', `/kafka-inputs/${topic}`, { format: 'json' })
  const unknown = { ...event('unknown', 'refused', 1), type: 'nobody.registered' }
  const messages = [
    json(event('a', 'refused', 1)),
    { value: '{' },
    json(unknown, event('b', 'refused', 2)),
    json(event('c', 'refused', 4)),
  ]
  await send(
    topic,
    messages.map((message) => ({ ...message, partition: 1 })),
  )
  expect(await settled('refused', 7)).toBe(7)
  expect(await rejected(topic, 2)).toMatchObject([
    { partition: 1, offset: 1, event_index: null, code: 'invalid_json' },
    { partition: 1, offset: 2, event_index: 0, code: 'unknown_type', id: 'unknown' },
  ])
  expect(await metrics()).toMatch(/billing_kafka_input_records_total\{tenant="acme",outcome="rejected"\} 1\n/)
})

test('Avro records are mapped to events; an id that is not on the list and a bomb are listed, and nothing dies', async () => {
  const topic = await createTopic('avro')
  const fields = { id: 'request', subject: 'customer', time: 'at' }
  const schema = { ...AVRO, fields: AVRO.fields.slice(0, 5) }
  await tenant.call('PUT', `/kafka-inputs/${topic}`, {
    format: 'avro',
    schemas: [
      { id: 7, schema, type: EVENT_TYPE, source: 'billing', fields },
      { id: 8, schema: AVRO, type: EVENT_TYPE, source: 'billing', fields },
    ],
  })
  const plain = avsc.Type.forSchema(schema as unknown as avsc.Schema)
  const record = (request: string, tokens: number) =>
    plain.toBuffer({
      ...{ request, customer: 'avro', at: Date.now() - 60_000 },
      [METERS.context]: tokens,
      [METERS.generated]: 1,
    })
  const harmless = avroType.toBuffer({
    ...{ request: 'b', customer: 'avro', at: 0, tags: [] },
    [METERS.context]: 1,
    [METERS.generated]: null,
  })
  // The empty list at its end becomes one of two billion items without bytes.
  const bomb = Buffer.concat([harmless.subarray(0, -1), Buffer.from('feffffff0f', 'hex')])
  const pid = rig.process('ingest-1').pid()
  await send(
    topic,
    [
      framed(7, record('a', 1)),
      framed(9, record('x', 1)),
      framed(8, bomb),
      framed(7, record('a', 1)),
      framed(7, record('c', 2)),
      { value: 'text' },
    ].map((message) => ({ ...message, partition: 0 })),
  )
  expect(await settled('avro', 3)).toBe(3)
  expect(await rejected(topic, 3)).toMatchObject([
    { offset: 1, code: 'unknown_schema' },
    { offset: 2, code: 'avro_too_large' },
    { offset: 5, code: 'not_framed' },
  ])
  // A few bytes each, and together 6 MB of JSON: read in parts, and each is refused, for the schema has no such field.
  const tags = Array.from({ length: 19_000 }, () => null)
  const long = (request: string) =>
    avroType.toBuffer({
      ...{ request, customer: 'avro-long', at: Date.now() - 60_000, tags },
      [METERS.context]: 1,
      [METERS.generated]: null,
    })
  const many = Array.from({ length: 60 }, (_, n) => ({ ...framed(8, long(`long-${n}`)), partition: 2 }))
  await send(topic, many)
  const ofLong = (await rejected(topic, 63)).filter((one) => one.partition === 2)
  expect(ofLong.map(({ offset, event_index: index }) => [offset, index])).toEqual(many.map((_, offset) => [offset, 0]))
  expect(rig.process('ingest-1').pid()).toBe(pid)
  expect(rig.process('ingest-1').url()).toBeDefined()
})
