import { setTimeout as sleep } from 'node:timers/promises'
import { createKafkaLogReader } from '../../aggregator/pump/event-log.kafka.ts'
import { SESSION_MS, silent } from './event-log.kafka-place.ts'

/** `event-log.read-until-killed.ts BROKER TOPIC`: a member of the group that reads, prints the rows, stores nothing. */
const [broker, topic] = process.argv.slice(2)
if (!broker || !topic) throw new Error('Usage: event-log.read-until-killed.ts BROKER TOPIC')
const group = { groupId: topic, sessionTimeoutMs: SESSION_MS, clockMarginMs: 0 }
const reader = createKafkaLogReader({ brokers: [broker], topic, partitions: 3, ...group }, silent)
await reader.start()
for (;;) {
  const { partitions } = reader.assignment()
  const offsets = [0, 1, 2].map((partition) => (partitions.includes(partition) ? 0 : undefined))
  for (const row of await reader.read(offsets, 1e6)) process.stdout.write(`${row.partition}/${row.offset}\n`)
  await sleep(100)
}
