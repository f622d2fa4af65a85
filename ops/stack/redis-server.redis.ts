import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Guard } from './guard.ts'
import { startProcess } from './own-process.ts'
import { stackPort } from './ports.ts'
import { type RedisServer, withFields } from './server.ts'

/**
 * Redis as the product wants it in production: the append-only file, synced every second, so that counters survive a
 * restart (a snapshot could be minutes old); no eviction, because a counter that vanishes is loaded anew from usage
 * and would hide that memory is short; large sets that end are freed beside the work.
 */
const APPEND_ONLY = ['--save', '', '--appendonly', 'yes', '--appendfsync', 'everysec']
const SETTINGS = [...APPEND_ONLY, '--maxmemory-policy', 'noeviction', '--lazyfree-lazy-expire', 'yes']

/** `extra`: more flags of redis-server, such as `--cluster-enabled yes`. */
export async function startRedis(folder: string, guard: Guard, extra: readonly string[] = []): Promise<RedisServer> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const port = await stackPort()
  const url = `redis://127.0.0.1:${port}`
  const server = await startProcess({
    name: 'Redis',
    command: 'redis-server',
    args: ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, ...SETTINGS, ...extra],
    folder,
    logFile: join(folder, 'redis.log'),
    guard,
    answers: () => pongs(url),
    startWithinMs: 20_000,
    stopWithinMs: 10_000,
  })
  return withFields(server, { url })
}

export async function pongs(url: string): Promise<boolean> {
  const client = new Redis(url, { lazyConnect: true, connectTimeout: 1_000, retryStrategy: () => null })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return (await client.ping()) === 'PONG'
  } catch {
    return false
  } finally {
    client.disconnect()
  }
}
