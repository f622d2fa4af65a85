import { setTimeout as sleep } from 'node:timers/promises'
import { pings } from './clickhouse-server.ts'
import { listsTopics } from './kafka-server.kafka.ts'
import { stackPort } from './ports.ts'
import { connects } from './postgres-server.postgres.ts'
import { pongs } from './redis-server.redis.ts'
import { type Server, type ServerName, type StackServers, withFields } from './server.ts'

/** Those of docker-compose.yml, which a test compares: what is tested in containers is what is run in them. */
export const IMAGES: Record<ServerName, string> = {
  kafka: 'apache/kafka:4.1.1',
  redis: 'redis:7.4.11-bookworm',
  postgres: 'postgres:18.6-bookworm',
  clickhouse: 'clickhouse/clickhouse-server:26.7.5.10',
}

/** A container's server, and how to put the container away. */
export type Contained<N extends ServerName> = { server: StackServers[N]; remove(): Promise<void> }

type Recipe = {
  image: string
  port: number
  env: Record<string, string>
  command?: string[]
  fields: { url?: string; brokers?: string }
  answers(): Promise<boolean>
}

/** Whether a Docker engine answers; `docker` being installed says nothing. */
export async function dockerAnswers(): Promise<boolean> {
  try {
    const { getContainerRuntimeClient } = await import('testcontainers')
    await getContainerRuntimeClient()
    return true
  } catch {
    return false
  }
}

/**
 * A server proper in a container. This, and nothing else, covers ClickHouse itself rather than our front over chDB.
 * The port is chosen beforehand: Kafka must tell it to clients, and all keep theirs over restarts.
 */
export async function startContainer<N extends ServerName>(name: N): Promise<Contained<N>> {
  const { GenericContainer, getContainerRuntimeClient, Wait } = await import('testcontainers')
  const client = await getContainerRuntimeClient()
  const hostPort = await stackPort()
  const { image, port, env, command, fields, answers } = RECIPES[name](client.info.containerRuntime.host, hostPort)
  const configured = new GenericContainer(image)
    .withEnvironment(env)
    .withExposedPorts({ container: port, host: hostPort })
    .withWaitStrategy(Wait.forListeningPorts())
  const started = await (command ? configured.withCommand(command) : configured).start()
  const container = client.container.getById(started.getId())
  const isUp = async () => (await container.inspect()).State.Running
  const answering = async () => {
    for (let tries = 0; !(await answers()); tries++) {
      if (tries > 600) throw new Error(`${image} does not answer`)
      await sleep(100)
    }
  }
  await answering()
  const server: Server = {
    pid: undefined,
    stop: async () => {
      if (await isUp()) await container.stop({ t: 20 })
    },
    kill: async () => {
      if (await isUp()) await container.kill()
    },
    freeze: () => container.pause(),
    thaw: () => container.unpause(),
    restart: async () => {
      await started.restart({ timeout: 20_000 })
      await answering()
    },
  }
  return {
    server: withFields(server, fields) as unknown as StackServers[N],
    remove: () => started.stop({ remove: true, removeVolumes: true }).then(() => undefined),
  }
}

const RECIPES: Record<ServerName, (host: string, port: number) => Recipe> = {
  kafka: (host, port) => ({
    image: IMAGES.kafka,
    port: 9092,
    env: {
      KAFKA_NODE_ID: '1',
      KAFKA_PROCESS_ROLES: 'broker,controller',
      KAFKA_CONTROLLER_QUORUM_VOTERS: '1@localhost:9093',
      KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER',
      KAFKA_LISTENERS: 'PLAINTEXT://:9092,CONTROLLER://:9093',
      KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://${host}:${port}`,
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: '1',
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: '0',
      KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false',
      KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE: 'false',
    },
    fields: { brokers: `${host}:${port}` },
    answers: () => listsTopics(`${host}:${port}`),
  }),
  redis: (host, port) => ({
    image: IMAGES.redis,
    port: 6379,
    env: {},
    command: [
      ...['redis-server', '--save', '', '--appendonly', 'yes'],
      ...['--maxmemory-policy', 'noeviction', '--lazyfree-lazy-expire', 'yes'],
    ],
    fields: { url: `redis://${host}:${port}` },
    answers: () => pongs(`redis://${host}:${port}`),
  }),
  postgres: (host, port) => ({
    image: IMAGES.postgres,
    port: 5432,
    env: { POSTGRES_USER: 'tallyline', POSTGRES_PASSWORD: 'tallyline', POSTGRES_DB: 'postgres' },
    command: ['postgres', '-c', 'max_connections=200'],
    fields: { url: `postgres://tallyline:tallyline@${host}:${port}/postgres` },
    answers: () => connects(`postgres://tallyline:tallyline@${host}:${port}/postgres`),
  }),
  clickhouse: (host, port) => ({
    image: IMAGES.clickhouse,
    port: 8123,
    env: { CLICKHOUSE_USER: 'default', CLICKHOUSE_PASSWORD: 'tallyline', CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT: '1' },
    fields: { url: `http://default:tallyline@${host}:${port}` },
    answers: () => pings(`http://${host}:${port}`),
  }),
}
