import { Kafka, logLevel } from 'kafkajs'
import type { Logger } from 'pino'

/** kafkajs' levels as pino's; its errors about retries are warnings here, since it goes on by itself. */
const LEVELS: Record<number, 'error' | 'warn' | 'debug'> = {
  [logLevel.ERROR]: 'warn',
  [logLevel.WARN]: 'debug',
  [logLevel.INFO]: 'debug',
  [logLevel.DEBUG]: 'debug',
}

/** A client of the brokers, `host:port` each. Connections open when producers and consumers connect. */
export function openKafka(brokers: string[], logger: Logger): Kafka {
  return new Kafka({
    clientId: 'tallyline',
    brokers,
    connectionTimeout: 3_000,
    // Of any one request but those to join a group. It must be more than producers let replicas take.
    requestTimeout: 10_000,
    logLevel: logLevel.WARN,
    logCreator: () => (entry) => logger[LEVELS[entry.level] ?? 'debug']({ kafka: entry.log.message }, 'kafkajs'),
  })
}
