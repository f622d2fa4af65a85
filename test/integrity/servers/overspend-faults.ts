import { setTimeout as sleep } from 'node:timers/promises'
import type { RedisServer } from '../../../ops/stack/server.ts'
import type { Random } from '../../support/random.ts'
import type { Fault } from './overspend-bound.ts'
import { askRedis, counterKeyOf, INGESTS, type OverspendWorld, portOf, survivedOf } from './overspend-world.ts'
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts'

/** Of a run: requests that it happened to, tries that failed, units that were acknowledged and lost. */
type Seen = { underWay: number; failures: number; lost: number }

/** What happens in the middle of a burst. */
export type FaultKind = {
  /** Readies the servers, before the burst. */
  ready(world: OverspendWorld): Promise<void>
  strike(world: OverspendWorld, subject: string, random: Random): Promise<Fault>
  /** After the burst: everything is up again. */
  mend?(world: OverspendWorld): Promise<void>
  /** Whether it was felt: otherwise it did not happen in the middle of a burst. */
  isSeen(run: Seen): boolean
}

const losesSome = ({ underWay, lost }: Seen) => underWay > 0 && lost > 0

/** So late the replica hears of what the primary has acknowledged, as in another zone under load. */
const REPLICATION_LAG_MS = 100

/** kill -9 of one of the ingest processes. Counters and holds are not its own. */
export const ingestKilled: FaultKind = {
  isSeen: ({ underWay, failures }) => underWay > 0 && failures > 0,
  ready: async (world) => world.useRedis(aDurable(world)),
  strike: async ({ rig }, _subject, random) => {
    const beganMs = performance.now()
    await rig.process(random.pick(INGESTS)).crash()
    return { beganMs, endedMs: performance.now(), survived: 'everything' }
  },
  mend: async ({ rig }) => {
    for (const name of INGESTS) if (rig.process(name).url() === undefined) await rig.process(name).start()
  },
}

export const flushed: FaultKind = {
  isSeen: losesSome,
  ready: async (world) => world.useRedis(aDurable(world)),
  strike: (world, subject) =>
    askRedis(world.redis(), async (client) => {
      const key = await counterKeyOf(client, subject)
      const beganMs = performance.now()
      const [used] =
        (await client
          .multi()
          .get(key ?? '')
          .flushall()
          .exec()) ?? []
      if (!used?.[1]) throw new Error('There was no counter to lose')
      return { beganMs, endedMs: performance.now(), survived: 'nothing' }
    }),
}

/** kill -9 of Redis, which starts again with what it has on disk. */
export const redisKilled: FaultKind = {
  isSeen: ({ underWay }) => underWay > 0,
  ready: async (world) => world.useRedis(aDurable(world)),
  strike: killAndRestart,
}

/** The same without its append-only file: it starts with nothing. */
export const volatileRedisKilled: FaultKind = {
  isSeen: losesSome,
  ready: async (world) => world.useRedis(world.volatile),
  strike: killAndRestart,
}

async function killAndRestart(world: OverspendWorld, subject: string): Promise<Fault> {
  const server = world.redis()
  const beganMs = performance.now()
  await server.kill()
  // Nobody reaches it before we have looked.
  world.useRedis(undefined)
  await server.restart()
  const survived = await survivedOf(server, subject)
  world.useRedis(server)
  return { beganMs, endedMs: performance.now(), survived }
}

/** The primary is killed while it takes writes, and a replica that hears of them late takes its place. */
export function failover(): FaultKind {
  let lag: TcpProxy | undefined
  const replicaOf = ({ durable }: OverspendWorld, primary: RedisServer) => {
    const [replica] = durable.filter((server) => server !== primary)
    if (!replica) throw new Error('There is no other server')
    return replica
  }
  return {
    isSeen: losesSome,
    ready: async (world) => {
      const primary = aDurable(world)
      world.useRedis(primary)
      lag = await startTcpProxy(portOf(primary), REPLICATION_LAG_MS)
      await follow(replicaOf(world, primary), lag.port)
    },
    strike: async (world, subject) => {
      const primary = world.redis()
      const replica = replicaOf(world, primary)
      const beganMs = performance.now()
      await primary.kill()
      await lag?.close()
      await askRedis(replica, (client) => client.replicaof('NO', 'ONE'))
      const survived = await survivedOf(replica, subject)
      world.useRedis(replica)
      return { beganMs, endedMs: performance.now(), survived }
    },
    mend: async (world) => replicaOf(world, world.redis()).restart(),
  }
}

async function follow(replica: RedisServer, port: number): Promise<void> {
  await askRedis(replica, async (client) => {
    await client.replicaof('127.0.0.1', port)
    while (!/^master_link_status:up/m.test(await client.info('replication'))) await sleep(20)
  })
}

/** The one in use if it is such a one. */
function aDurable({ durable, redis }: OverspendWorld): RedisServer {
  const found = durable.find((server) => server === redis()) ?? durable[0]
  if (!found) throw new Error('There is no server')
  return found
}
