import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Admin, ConfigResourceTypes, type Kafka } from 'kafkajs'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { createKafkaLogReader } from '../../aggregator/pump/event-log.kafka.ts'
import type { EventLogReader } from '../../aggregator/pump/event-log.ts'
import { createKafkaLogWriter, type KafkaLogOptions, type KafkaLogWriter } from '../../ingest/append/event-log.kafka.ts'
import { createLogTopic, type EventLogTopic } from '../../ops/migrate/migrate.kafka.ts'
import type { KafkaServer } from '../../ops/stack/server.ts'
import { openKafka } from '../../ops/stores/kafka.kafka.ts'
import { SESSION_MS, silent } from './event-log.kafka-place.ts'
import { SHORT } from './event-log.server.ts'
import { readRows, record, textOf } from './event-log.ts'

/** What the adapters of the event log on Kafka must not believe of topics, groups, connections and their client. */
export function describeKafkaTopics(server: () => KafkaServer): void {
  let kafka: Kafka
  let admin: Admin
  let log: EventLogTopic

  beforeAll(async () => {
    kafka = openKafka([server().brokers], silent)
    admin = kafka.admin()
    await admin.connect()
  })
  afterAll(() => admin.disconnect())
  beforeEach(async () => {
    log = await createLogTopic(admin, 3)
  })

  const openWriter = async (limits: Partial<KafkaLogOptions> = {}): Promise<KafkaLogWriter> => {
    const writer = createKafkaLogWriter({ brokers: [server().brokers], ...log, ...limits })
    onTestFinished(() => writer.close())
    await writer.connect()
    return writer
  }
  const openReader = async (): Promise<EventLogReader> => {
    const group = { groupId: log.topic, sessionTimeoutMs: SESSION_MS, clockMarginMs: 0 }
    const reader = createKafkaLogReader({ brokers: [server().brokers], ...log, ...group }, silent)
    onTestFinished(() => reader.stop())
    await reader.start()
    return reader
  }

  describe('a record on Kafka', () => {
    test('too large for the broker rejects with its code, and others go on', async () => {
      const writer = await openWriter()
      const large = { partition: 0, record: Buffer.alloc(1_100_000) }
      await expect(writer.append([large])).rejects.toMatchObject({ apiId: 'MESSAGE_TOO_LARGE', apiCode: 10 })
      await writer.append([record(0, 'fits')])
      expect(await writer.ends()).toEqual([1, 0, 0])
    })

    test('for a partition that the topic lacks is refused before anything is sent', async () => {
      log = { ...log, partitions: 4 }
      await expect(openWriter()).rejects.toThrow('has 3 partitions, not 4')
    })

    test('is not acknowledged unsent because the clock was set forward meanwhile (invariant 2)', async () => {
      const writer = await openWriter()
      const appended = writer.append([record(0, 'in time'), record(1, 'too late')])
      const now = Date.now
      const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() + 3_600_000)
      onTestFinished(() => clock.mockRestore())
      await expect(appended).rejects.toThrow('no time to send all records')
    })

    test('is known when the broker appended it, whatever time its producer says', async () => {
      const producer = kafka.producer()
      await producer.connect()
      const before = Date.now()
      const messages = [{ partition: 0, value: 'a', timestamp: String(Date.UTC(2001, 0, 1)) }]
      await producer.send({ topic: log.topic, messages })
      await producer.disconnect()
      const [row] = await readRows(await openReader(), 1)
      expect(row?.knownAtMs).toBeGreaterThan(before - 1_000)
    })
  })

  describe('a topic', () => {
    test('whose times are the producers’ is refused by writer and reader, with what to set', async () => {
      const configEntries = [{ name: 'message.timestamp.type', value: 'CreateTime' }]
      await admin.alterConfigs({
        validateOnly: false,
        resources: [{ type: ConfigResourceTypes.TOPIC, name: log.topic, configEntries }],
      })
      await expect(openWriter()).rejects.toThrow('message.timestamp.type=CreateTime: set it to LogAppendTime')
      await expect(openReader()).rejects.toThrow('message.timestamp.type=CreateTime: set it to LogAppendTime')
    })

    test('made anew under the same name is not read as if it were the one that was stored', async () => {
      const writer = await openWriter()
      for (const text of ['a', 'b', 'c']) await writer.append([record(0, text)])
      const reader = await openReader()
      expect(await readRows(reader, 3)).toHaveLength(3)
      // All three are stored; while nobody looks the topic goes, and another one comes.
      await admin.deleteTopics({ topics: [log.topic] })
      const configEntries = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }]
      const again = { topic: log.topic, numPartitions: 3, replicationFactor: 1, configEntries }
      await untilDone(() => admin.createTopics({ waitForLeaders: false, topics: [again] }))
      await untilDone(() => writer.append([record(0, 'new')]))
      const refusal = 'Before 3 all is stored, but partition 0'
      await expect(untilRefused(reader, [3, 0, 0])).resolves.toContain(refusal)
      const started = await openReader()
      await expect(untilRefused(started, [3, 0, 0])).resolves.toContain(refusal)
    })

    test('that lost records before they were stored is not read further as if nothing were missing', async () => {
      const writer = await openWriter()
      for (const text of ['a', 'b', 'c', 'd']) await writer.append([record(1, text)])
      const fresh = kafka.admin()
      await fresh.connect()
      await fresh.fetchTopicMetadata({ topics: [log.topic] })
      await fresh.deleteTopicRecords({ topic: log.topic, partitions: [{ partition: 1, offset: '2' }] })
      await fresh.disconnect()
      const reader = await openReader()
      await expect(untilRefused(reader, [0, 1, 0])).resolves.toContain('records were removed too early')
      expect((await readRows(reader, 2, [0, 2, 0])).map(textOf)).toEqual(['c', 'd'])
    })
  })

  test('commits, for dashboards, follow what is stored of the partitions that are ours', async () => {
    const writer = await openWriter()
    await writer.append([record(0, 'a'), record(0, 'b'), record(2, 'c')])
    const reader = await openReader()
    await readRows(reader, 3)
    reader.stored([2, 0, 1])
    const committed = async () =>
      (await admin.fetchOffsets({ groupId: log.topic, topics: [log.topic] }))[0]?.partitions.map(({ offset }) => offset)
    await untilDone(async () => expect(await committed()).toEqual(['2', '0', '1']))
  })

  test('a group that refuses us lets us in once it may: nobody gives up for ever', async () => {
    const foreign = kafka.consumer({ groupId: log.topic, partitionAssigners: [foreignAssigner] })
    await foreign.connect()
    await foreign.subscribe({ topic: log.topic })
    await foreign.run({ eachBatch: async () => undefined })
    await untilDone(async () => expect((await admin.describeGroups([log.topic])).groups[0]?.state).toBe('Stable'))
    const reader = await openReader()
    expect(reader.assignment().partitions).toEqual([])
    expect(await reader.read([0, 0, 0], 1_000), 'meanwhile nothing is ours to read').toEqual([])
    await foreign.disconnect()
    await untilDone(async () => expect(reader.assignment().partitions).toEqual([0, 1, 2]))
  })

  test('a connection that died without a word is left for a new one', async () => {
    const sockets: Socket[] = []
    const mute = { sockets: new Set<Socket>() }
    const plain = Socket.prototype.write
    Socket.prototype.write = function (this: Socket, ...args: Parameters<typeof plain>) {
      // What is written goes nowhere, as towards a machine that lost its power.
      if (!sockets.includes(this)) sockets.push(this)
      return mute.sockets.has(this) || plain.apply(this, args)
    } as never
    onTestFinished(() => {
      Socket.prototype.write = plain
    })
    const writer = await openWriter(SHORT)
    await writer.append([record(0, 'before')])
    mute.sockets = new Set(sockets)
    await expect(writer.append([record(0, 'lost on the way')])).rejects.toThrow('did not answer within 2000 ms')
    await writer.append([record(0, 'after')])
    await expect(writer.ends()).rejects.toThrow('did not answer')
    expect(await writer.ends()).toEqual([2, 0, 0])
    for (const socket of mute.sockets) socket.destroy()
  })
}

/** Assigns nothing to anybody, under a name that others do not know. */
const foreignAssigner = () => ({
  name: 'Foreign',
  version: 1,
  assign: async ({ members }: { members: { memberId: string }[] }) =>
    members.map(({ memberId }) => ({ memberId, memberAssignment: Buffer.alloc(10) })),
  protocol: () => ({ name: 'Foreign', metadata: Buffer.alloc(10) }),
})

/** Why it reads no further. */
async function untilRefused(reader: EventLogReader, offsets: readonly number[]): Promise<string> {
  for (const until = Date.now() + 30_000; Date.now() < until; await reader.waitForMore(100)) {
    const answer = await reader.read(offsets, 1_000).catch((error: Error) => error)
    if (answer instanceof Error) return answer.message
    expect(answer).toEqual([])
  }
  throw new Error('It was not refused')
}

async function untilDone(work: () => Promise<unknown>): Promise<void> {
  for (const until = Date.now() + 30_000; ; await sleep(100)) {
    const failure = await work().then(
      () => undefined,
      (error: unknown) => error,
    )
    if (failure === undefined) return
    if (Date.now() > until) throw failure
  }
}
