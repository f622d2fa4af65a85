import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Kafka, logLevel } from 'kafkajs'
import { packageRoot } from '../../schemas/files.ts'
import type { Guard } from './guard.ts'
import { startProcess } from './own-process.ts'
import { stackPort } from './ports.ts'
import { type KafkaServer, withFields } from './server.ts'

const run = promisify(execFile)
const POM = join(packageRoot(), 'ops/stack/kafka/pom.xml')

/** One Kafka broker that is its own controller (KRaft), with the broker's own defaults where one node allows them. */
export async function startKafka(folder: string, guard: Guard): Promise<KafkaServer> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const libraries = join(await kafkaLibraries(), '*')
  const settings = join(folder, 'server.properties')
  const [port, controllerPort] = [await stackPort(), await stackPort()]
  writeFileSync(settings, properties(join(folder, 'data'), port, controllerPort))
  if (!existsSync(join(folder, 'data', 'meta.properties'))) {
    // The first digit is fixed: an id that begins with '-' would be taken for an option.
    const clusterId = Buffer.from(`4${randomUUID().replaceAll('-', '').slice(1)}`, 'hex').toString('base64url')
    await run('java', ['-cp', libraries, 'kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', settings])
  }
  const brokers = `127.0.0.1:${port}`
  const server = await startProcess({
    name: 'Kafka',
    command: 'java',
    // The serial collector: parallel ones would take the cores from what is being tested.
    args: ['-Xmx512m', '-XX:+UseSerialGC', '-cp', libraries, 'kafka.Kafka', settings],
    folder,
    logFile: join(folder, 'kafka.log'),
    guard,
    answers: () => listsTopics(brokers),
    startWithinMs: 60_000,
    stopWithinMs: 20_000,
  })
  return withFields(server, { brokers })
}

function properties(data: string, port: number, controllerPort: number): string {
  const settings = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': data,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 5,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'group.initial.rebalance.delay.ms': 0,
    // After a SIGKILL it is refused as its own duplicate until its old session ends: 9 s by default.
    'broker.session.timeout.ms': 3000,
    'broker.heartbeat.interval.ms': 500,
    // The product creates its topics; a name misspelt must not make one.
    'auto.create.topics.enable': false,
    'unclean.leader.election.enable': false,
  }
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

/** Kafka's jars, fetched once a version from Maven Central. They appear by a rename: a broken fetch leaves none. */
async function kafkaLibraries(): Promise<string> {
  const version = /kafka_2\.13<\/artifactId>\s*<version>([^<]+)</.exec(readFileSync(POM, 'utf8'))?.[1]
  if (!version) throw new Error(`${POM} names no version of Kafka`)
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tallyline')
  const libraries = join(cache, `kafka-${version}`)
  if (existsSync(libraries)) return libraries
  mkdirSync(cache, { recursive: true })
  const half = mkdtempSync(join(cache, 'kafka-new-'))
  try {
    const goal = ['-q', '-B', '-f', POM, 'dependency:copy-dependencies', `-DoutputDirectory=${half}`]
    await run('mvn', [...goal, '-DincludeScope=runtime'])
    renameSync(half, libraries)
  } catch (error) {
    rmSync(half, { recursive: true, force: true })
    // Somebody else was faster: theirs is as good.
    if (!existsSync(libraries))
      throw new Error(`Kafka cannot be fetched from Maven Central: ${(error as Error).message}`, { cause: error })
  }
  return libraries
}

export async function listsTopics(broker: string): Promise<boolean> {
  const client = new Kafka({
    clientId: 'tallyline-stack',
    brokers: [broker],
    connectionTimeout: 1_000,
    requestTimeout: 3_000,
    retry: { retries: 0 },
    logLevel: logLevel.NOTHING,
  })
  const admin = client.admin()
  try {
    await admin.connect()
    await admin.listTopics()
    return true
  } catch {
    return false
  } finally {
    await admin.disconnect().catch(() => undefined)
  }
}
