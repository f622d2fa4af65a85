import { readdirSync, readFileSync } from 'node:fs'
import { createKafkaLogReader } from '../../aggregator/pump/event-log.kafka.ts'
import { createKafkaLogWriter, type KafkaLogOptions } from '../../ingest/append/event-log.kafka.ts'
import { createLogger } from '../../ops/host/logger.ts'
import { createLogTopic } from '../../ops/migrate/migrate.kafka.ts'
import type { KafkaServer } from '../../ops/stack/server.ts'
import { openKafka } from '../../ops/stores/kafka.kafka.ts'
import { killed, startScript } from './event-log.killed.ts'
import type { ServerPlace } from './event-log.server.ts'

export type KafkaPlace = ServerPlace & { topic: string }

export const silent = createLogger({ level: 'silent' })
export const SESSION_MS = 6_000
/** One broker on this machine: its clock is ours. */
const CLOCK_MARGIN_MS = 300

/** Linux' letters for what each thread does; T is stopped. */
function threadStates(pid: number | undefined): string[] {
  const tasks = `/proc/${pid}/task`
  return readdirSync(tasks).map(
    (task) => / \(.*\) (\w) /.exec(readFileSync(`${tasks}/${task}/stat`, 'utf8'))?.[1] ?? '',
  )
}

/** A topic of its own, made as `migrate` makes it, on a broker that several places share. */
export async function kafkaPlace(server: KafkaServer, limits: Partial<KafkaLogOptions> = {}): Promise<KafkaPlace> {
  const kafka = openKafka([server.brokers], silent)
  const admin = kafka.admin()
  await admin.connect()
  const log = await createLogTopic(admin, 3)
  await admin.disconnect()
  const join = async () => {
    const group = { groupId: log.topic, sessionTimeoutMs: SESSION_MS, clockMarginMs: CLOCK_MARGIN_MS }
    const reader = createKafkaLogReader({ brokers: [server.brokers], ...log, ...group }, silent)
    await reader.start()
    return reader
  }
  const signal = (name: NodeJS.Signals) => {
    if (server.pid === undefined) throw new Error('The broker does not run as a process of this machine')
    process.kill(server.pid, name)
  }
  return {
    topic: log.topic,
    server,
    freeze: () => {
      signal('SIGSTOP')
      // A thread that runs on another core goes on for a moment, and may still answer a request.
      while (!threadStates(server.pid).every((state) => state === 'T'));
    },
    thaw: () => signal('SIGCONT'),
    join,
    open: async () => {
      const writer = createKafkaLogWriter({ brokers: [server.brokers], ...log, ...limits })
      await writer.connect()
      const reader = await join()
      while (reader.assignment().partitions.length < 3) await reader.waitForMore(50)
      return {
        writer,
        reader,
        close: async () => {
          await reader.stop()
          await writer.close()
        },
      }
    },
    joinInAnotherProcess: () => startScript('event-log.read-until-killed.ts', server.brokers, log.topic),
    appendAndBeKilled: (text) =>
      killed(startScript('append-and-be-killed.ts', text, 'kafka', server.brokers, log.topic)),
    remove: async () => undefined,
  }
}
