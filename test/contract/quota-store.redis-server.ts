import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { QuotaStore } from '../../ingest/quota/quota-store.ts'

/** The server dies with the pipe: when the test closes it, and when the test's process is gone, however that ended. */
const SERVE = `command -v redis-server > /dev/null || exit 127
redis-server "$@" < /dev/null &
server=$!
cat > /dev/null
kill -9 $server
wait $server
exit 0`

/** A redis-server of the test's own, which keeps nothing on disk. */
export type RedisServer = {
  url: string
  port: number
  /** For looking on from the side, and for FLUSHALL and the like. */
  admin: Redis
  freeze(): void
  thaw(): void
  /** SIGKILL. */
  kill(): Promise<void>
  /** Starts again on the same port, empty. */
  start(): Promise<void>
  close(): Promise<void>
}

export async function startRedis({ cluster = false } = {}): Promise<RedisServer> {
  const folder = mkdtempSync(join('/tmp', 'tallyline-redis-'))
  const [port, busPort] = [await freePort(), await freePort()]
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no']
  if (cluster) args.push('--cluster-enabled', 'yes', '--cluster-port', String(busPort))
  // A node that never met another does not know its own address, and the client finds no node that holds a slot.
  if (cluster) args.push('--cluster-announce-ip', '127.0.0.1')
  const admin = new Redis({ port, host: '127.0.0.1', lazyConnect: true, retryStrategy: () => 20 })
  admin.on('error', () => undefined)
  let child: ChildProcess | undefined
  let pid = 0
  const start = async () => {
    child = spawn('sh', ['-c', SERVE, 'sh', ...args], { stdio: ['pipe', 'ignore', 'ignore'] })
    await Promise.race([answers(admin), ended(child)])
    pid = Number(/process_id:(\d+)/.exec(await admin.info('server'))?.[1])
    if (cluster && !(await admin.cluster('INFO')).includes('cluster_slots_assigned:16384')) {
      await admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
    }
    while (cluster && !(await admin.cluster('INFO')).includes('cluster_state:ok')) await sleep(20)
  }
  const kill = async () => {
    if (!child || child.exitCode !== null) return
    const exited = once(child, 'exit')
    child.stdin?.end()
    await exited
  }
  await start()
  return {
    url: `${cluster ? 'redis+cluster' : 'redis'}://127.0.0.1:${port}`,
    port,
    admin,
    freeze: () => process.kill(pid, 'SIGSTOP'),
    thaw: () => process.kill(pid, 'SIGCONT'),
    kill,
    start,
    close: async () => {
      admin.disconnect()
      await kill()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** The store on a server whose clock is the test's: when that went on, every key is so much nearer to its end. */
export function passTime(store: QuotaStore, admin: Redis, now: () => number): QuotaStore {
  let lastMs = now()
  const pass = async () => {
    const passedMs = now() - lastMs
    lastMs = now()
    if (passedMs === 0) return
    for (const key of await admin.keys('*')) {
      const livesMs = await admin.pttl(key)
      // Without an end it has none that comes nearer.
      if (livesMs >= 0) await admin.pexpire(key, livesMs - passedMs)
      if (key.endsWith(':holds'))
        for (const id of await admin.zrange(key, '0', '-1')) await admin.zincrby(key, -passedMs, id)
    }
  }
  return {
    hold: (...args) => pass().then(() => store.hold(...args)),
    release: (...args) => pass().then(() => store.release(...args)),
    returnUnused: (...args) => pass().then(() => store.returnUnused(...args)),
    subjectOfHold: (...args) => pass().then(() => store.subjectOfHold(...args)),
    read: (...args) => pass().then(() => store.read(...args)),
    sweepHolds: (...args) => pass().then(() => store.sweepHolds(...args)),
    draw: (...args) => pass().then(() => store.draw(...args)),
    giveBack: (...args) => pass().then(() => store.giveBack(...args)),
    load: (...args) => pass().then(() => store.load(...args)),
    memory: store.memory,
    livingCounters: async function* (...args) {
      await pass()
      yield* store.livingCounters(...args)
    },
    lookAt: (...args) => pass().then(() => store.lookAt(...args)),
    correct: (...args) => pass().then(() => store.correct(...args)),
    ping: store.ping,
    close: store.close,
  }
}

async function ended(child: ChildProcess): Promise<never> {
  const [code] = await once(child, 'exit')
  throw new Error(code === 127 ? 'redis-server is missing: apt-get install redis-server' : 'redis-server ended')
}

async function answers(admin: Redis): Promise<void> {
  for (;;) {
    const pong = await admin.ping().catch(() => undefined)
    if (pong) return
    await sleep(20)
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
