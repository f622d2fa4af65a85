import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, Kafka, Producer } from 'kafkajs'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { TenantInput } from '../../../../ingest/doors/kafka/input.ts'
import type { PlacedFault } from '../../../../ingest/doors/kafka/portions.ts'
import { type InputReader, readInput } from '../../../../ingest/doors/kafka/read-input.kafka.ts'
import { createLogger } from '../../../../ops/host/logger.ts'
import { type Stack, startStack } from '../../../../ops/stack/stack.ts'
import { openKafka } from '../../../../ops/stores/kafka.kafka.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 })

const silent = createLogger({ level: 'silent' })
const SESSION_MS = 6_000

let stack: Stack<'kafka'>
let kafka: Kafka
let admin: Admin
let producer: Producer
let topic: string
let made = 0

beforeAll(async () => {
  stack = await startStack({ only: ['kafka'] })
  kafka = openKafka([stack.kafka.brokers], silent)
  admin = kafka.admin()
  producer = kafka.producer()
  await Promise.all([admin.connect(), producer.connect()])
})
afterAll(async () => {
  await Promise.allSettled([admin?.disconnect(), producer?.disconnect()])
  await stack?.stop()
})
beforeEach(async () => {
  topic = `in.acme.t${made++}`
  await createTopic(2)
})

const createTopic = (numPartitions: number) =>
  untilDone(() =>
    admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions, replicationFactor: 1 }] }),
  )

type Seen = { taken: string[]; faults: Pick<PlacedFault, 'code' | 'offset' | 'lastOffset'>[]; reader: InputReader }

/** Reads the topic; what it takes is noted as `partition:text`, unless the test says that it fails. */
function read(fails: (text: string) => boolean = () => false): Seen {
  const taken: string[] = []
  const faults: Seen['faults'] = []
  const input: TenantInput = {
    ...{ topic, tenantId: 1, tenantSlug: 'acme', format: 'json', schemas: [], backfill: false, paused: false },
  }
  const source = { brokers: [stack.kafka.brokers], sessionTimeoutMs: SESSION_MS }
  const reader = readInput(source, input, {
    logger: silent,
    take: async ({ partition }, portion) => {
      const texts = portion.records.map(({ value }) => String(value))
      if (texts.some(fails)) throw new Error('not now')
      taken.push(...texts.map((text) => `${partition}:${text}`))
      faults.push(...portion.faults.map(({ code, offset, lastOffset }) => ({ code, offset, lastOffset })))
      return portion.next
    },
  })
  onTestFinished(() => reader.stop())
  return { taken, faults, reader }
}

const send = (partition: number, ...values: string[]) =>
  producer.send({ topic, messages: values.map((value) => ({ partition, value })) })

async function until(is: () => boolean | Promise<boolean>): Promise<void> {
  for (const giveUpMs = Date.now() + 60_000; !(await is()); await sleep(50)) {
    if (Date.now() > giveUpMs) throw new Error('It never came to it')
  }
}
async function untilDone(work: () => Promise<unknown>): Promise<void> {
  for (const giveUpMs = Date.now() + 30_000; ; await sleep(100)) {
    const failure = await work().then(
      () => undefined,
      (error: unknown) => error,
    )
    if (failure === undefined) return
    if (Date.now() > giveUpMs) throw failure
  }
}
const committed = async () => {
  const { groups } = await admin.listGroups()
  const group = groups.find(({ groupId }) => groupId.startsWith(`tallyline-input-${topic}-`))
  if (!group) return []
  const [of] = await admin.fetchOffsets({ groupId: group.groupId, topics: [topic] })
  return (of?.partitions ?? []).sort((a, b) => a.partition - b.partition).map(({ offset }) => Number(offset))
}

describe('invariant 2: progress is recorded after the records are taken', () => {
  test('what is not taken comes again, in order, and nothing of it is skipped; other partitions go on', async () => {
    let away = true
    await send(0, 'a')
    await send(0, 'b', 'c')
    await send(1, 'x')
    const { taken } = read((text) => away && text === 'b')
    await until(() => taken.includes('1:x'))
    await send(1, 'y')
    await until(() => taken.includes('1:y'))
    expect(taken.filter((one) => one.startsWith('0'))).not.toContain('0:c')
    expect((await committed())[0], 'nothing behind what failed').toBeLessThanOrEqual(1)
    away = false
    await until(() => taken.includes('0:c'))
    expect(taken.filter((one) => one.startsWith('0'))).toEqual(['0:a', '0:b', '0:c'])
    await until(async () => String(await committed()) === '3,2')
  })

  test('whoever comes after a stop goes on where it ended', async () => {
    await send(0, 'a', 'b')
    const first = read()
    await until(() => first.taken.length === 2)
    await first.reader.stop()
    await send(0, 'c')
    const second = read()
    await until(() => second.taken.length > 0)
    expect(second.taken).toEqual(['0:c'])
  })

  test('two readers share the partitions; when one leaves, the other reads them all, and nothing is missed', async () => {
    const [one, other] = [read(), read()]
    const sent: string[] = []
    const both = () => [...one.taken, ...other.taken]
    for (let n = 0; one.taken.length === 0 || other.taken.length === 0; n++) {
      await Promise.all([send(0, `a${n}`), send(1, `b${n}`)])
      sent.push(`0:a${n}`, `1:b${n}`)
      await sleep(100)
    }
    await one.reader.stop()
    await Promise.all([send(0, 'last'), send(1, 'last')])
    sent.push('0:last', '1:last')
    await until(() => sent.every((text) => both().includes(text)))
    expect(other.taken).toEqual(expect.arrayContaining(['0:last', '1:last']))
  })
})

describe('a topic', () => {
  test('that is not there yet is waited for', async () => {
    topic = `in.acme.later${made++}`
    const { taken } = read()
    await sleep(500)
    await createTopic(2)
    await untilDone(() => send(0, 'a'))
    await until(() => taken.length > 0)
  })

  test('made anew under the same name is read from its beginning', async () => {
    await send(0, 'a', 'b', 'c')
    const { taken } = read()
    await until(() => taken.length === 3)
    await admin.deleteTopics({ topics: [topic] })
    await createTopic(2)
    await untilDone(() => send(0, 'new'))
    await until(() => taken.includes('0:new'))
    expect(taken).toEqual(['0:a', '0:b', '0:c', '0:new'])
  })

  test('that lost records before they were read says which, and reading goes on behind them', async () => {
    await send(0, 'a')
    const first = read()
    await until(async () => (await committed())[0] === 1)
    await first.reader.stop()
    await send(0, 'b', 'c', 'd')
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '3' }] })
    const { taken, faults } = read()
    await until(() => taken.length > 0)
    expect(taken).toEqual(['0:d'])
    expect(faults).toEqual([{ code: 'records_gone', offset: 1, lastOffset: 2 }])
  })

  test('with transactions gives what was committed, and nothing else', async () => {
    const transactional = kafka.producer({ transactionalId: `t-${topic}`, maxInFlightRequests: 1, idempotent: true })
    onTestFinished(() => transactional.disconnect())
    await transactional.connect()
    const transaction = async (value: string, end: 'commit' | 'abort') => {
      const one = await transactional.transaction()
      await one.send({ topic, messages: [{ partition: 0, value }] })
      await one[end]()
    }
    await transaction('given up', 'abort')
    await transaction('kept', 'commit')
    await transaction('given up too', 'abort')
    await send(0, 'plain')
    const { taken } = read()
    await until(() => taken.includes('0:plain'))
    expect(taken).toEqual(['0:kept', '0:plain'])
  })
})

/** Last, because the test's own clients lose their connections too. */
test('a broker that is killed, and one that stands still, are waited for: reading goes on by itself', async () => {
  const { taken } = read()
  await send(0, 'before')
  await until(() => taken.includes('0:before'))
  await stack.kafka.kill()
  await sleep(2_000)
  await stack.kafka.restart()
  await untilDone(() => send(0, 'killed'))
  await until(() => taken.includes('0:killed'))
  await stack.kafka.freeze()
  await sleep(2 * SESSION_MS)
  await stack.kafka.thaw()
  await untilDone(() => send(0, 'frozen'))
  await until(() => taken.includes('0:frozen'))
  // Commits may be lost on the way, records are not: what comes again is a copy.
  expect([...new Set(taken)]).toEqual(['0:before', '0:killed', '0:frozen'])
})
