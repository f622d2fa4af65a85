import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CompressionTypes, type Producer } from 'kafkajs'
import { storedEnds } from '../../../schemas/clickhouse/stored-ends.clickhouse.ts'
import type { LogRow } from '../../../schemas/event/usage-batch.avro.ts'
import { createLogger } from '../../host/logger.ts'
import { openKafka } from '../../stores/kafka.kafka.ts'
import { startChild } from '../child.ts'
import { jsThreadCpuUs, ownCpuUs } from '../cpu.ts'
import { ownEnv } from '../database.postgres.ts'
import { encodedEvents } from '../events.ts'
import { type Figure, serversIn } from '../figure.ts'
import { interleave, sample } from '../measure.ts'
import type { RoleStarted } from '../role-process.ts'
import { avroFileOfEvents } from './avro-file.ts'
import { createRecords, PARTITIONS } from './log-rows.ts'
import { openBenchStores, PLAIN_TABLE, type Stores } from './stores.clickhouse.ts'

const PROCESS = 'aggregator'
const JS_THREAD = 'JavaScript thread of it'
const RECORDS_PER_SEND = 300
const LOOK_EVERY_MS = 50
const STORED_WITHIN_MS = 120_000

/** The aggregator as a role of its own: from Kafka to ClickHouse, its rebuilds, seals and dashboards included. */
export const pump: Figure = async (input) => {
  const { mode, sizes, folder } = input
  const env = { ...(await ownEnv(serversIn(input))), KAFKA_PARTITIONS: String(PARTITIONS) }
  const aggregator = startChild(new URL('../role-process.ts', import.meta.url), join(folder, 'aggregator.log'))
  const stores = await openBenchStores(input)
  const producer = openKafka(env.KAFKA_BROKERS.split(','), createLogger()).producer()
  try {
    const started = await aggregator.ask<RoleStarted>('start', { role: 'aggregator', env, folder })
    const topic = started.log?.topic ?? ''
    await stores.store.command(PLAIN_TABLE)
    await producer.connect()
    const records = createRecords()
    const subject = { mode, figure: 'aggregator, whole process', floor: stores.floor, unit: 'event' } as const
    const targets = { [JS_THREAD]: { cpuUsAtMost: 0.25 } }
    const gauges = {
      [PROCESS]: () => aggregator.ask<number>('cpu'),
      [JS_THREAD]: () => aggregator.ask<number>('jsCpu'),
    }
    const count = sizes.pumpEvents
    return await interleave({ ...subject, targets }, sizes, async () => {
      const events = encodedEvents(count, started.tenantId, PARTITIONS)
      const rows = records.next(events)
      return {
        product: () =>
          sample(gauges, count, async () => {
            await produce(producer, topic, rows)
            await untilStored(stores, topic, rows)
          }),
        floor: async () => {
          const files = filesOf(
            events.map((event) => event.encoded),
            sizes.eventsPerInsert,
          )
          return sample({ [PROCESS]: ownCpuUs, [JS_THREAD]: jsThreadCpuUs }, count, async () => {
            for (const file of files) await stores.insertBare(file)
          })
        },
      }
    })
  } finally {
    await aggregator.stop()
    await producer.disconnect()
    await stores.close()
  }
}

async function produce(producer: Producer, topic: string, rows: readonly LogRow[]): Promise<void> {
  for (let first = 0; first < rows.length; first += RECORDS_PER_SEND) {
    const messages = rows
      .slice(first, first + RECORDS_PER_SEND)
      .map(({ partition, batch: value }) => ({ partition, value }))
    await producer.send({ topic, messages, acks: -1, compression: CompressionTypes.None })
  }
}

/** The rows carry the offsets that Kafka gives them, since nobody else writes. */
async function untilStored({ store }: Stores, topic: string, rows: readonly LogRow[]): Promise<void> {
  const wanted = new Map(rows.map(({ partition, offset }) => [partition, offset + 1]))
  for (let waitedMs = 0; waitedMs < STORED_WITHIN_MS; waitedMs += LOOK_EVERY_MS) {
    const ends = await storedEnds(store, topic, PARTITIONS)
    if ([...wanted].every(([partition, end]) => (ends[partition] ?? 0) >= end)) return
    await sleep(LOOK_EVERY_MS)
  }
  throw new Error(`The aggregator did not store the log within ${STORED_WITHIN_MS / 1_000} s`)
}

function filesOf(encoded: readonly Buffer[], eventsPerFile: number): Buffer[] {
  const files: Buffer[] = []
  for (let first = 0; first < encoded.length; first += eventsPerFile)
    files.push(avroFileOfEvents(encoded.slice(first, first + eventsPerFile)))
  return files
}
