import { join } from 'node:path'
import { createKafkaLogWriter } from '../../ingest/append/event-log.kafka.ts'
import { createLmdbLogWriter } from '../../ingest/append/event-log.lmdb.ts'
import type { EventLogWriter } from '../../ingest/append/event-log.ts'
import { openLmdb } from '../../ops/embedded/lmdb.ts'

const USAGE = 'append-and-be-killed.ts TEXT lmdb FOLDER | TEXT kafka BROKER TOPIC'

/** Appends TEXT to partition 0 of three and dies by SIGKILL once it is acknowledged. */
const [text, adapter, place, topic] = process.argv.slice(2)
if (!text || !place) throw new Error(USAGE)
const writer = await open(place)
await writer.append([{ partition: 0, record: Buffer.from(text) }])
process.kill(process.pid, 'SIGKILL')

async function open(place: string): Promise<EventLogWriter> {
  if (adapter === 'lmdb') {
    const lmdb = await openLmdb(join(place, 'log'), join(place, 'quota'))
    return createLmdbLogWriter(lmdb.log, lmdb.logId, 3, Date.now)
  }
  if (adapter !== 'kafka' || !topic) throw new Error(USAGE)
  const writer = createKafkaLogWriter({ brokers: [place], topic, partitions: 3 })
  await writer.connect()
  return writer
}
