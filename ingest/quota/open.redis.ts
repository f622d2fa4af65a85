import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis'

export type RedisClient = Redis | Cluster

export type OpenRedisOptions = {
  /** How long one command may take, waiting for a connection included. */
  commandTimeoutMs?: number
  /** Told whenever the connection fails; it is made anew by itself. */
  onError?: (error: Error) => void
}

const DEFAULTS = { commandTimeoutMs: 1_000, onError: () => undefined }
const MOST_BACKOFF_MS = 1_000
const CLUSTER_URL = /^redis(s?)\+cluster:\/\/(?:([^@/]*)@)?([^@/]+)\/?$/

/**
 * Connects in the background to `redis://`, `rediss://` (TLS) or `redis+cluster://user:password@host:port,host:port`
 * (`rediss+cluster` with TLS). When Redis is away, commands fail within about a second, and the connection comes back
 * by itself. Await `redisReady` to learn of a wrong URL at the start.
 */
export function openRedis(url: string, options: OpenRedisOptions = {}): RedisClient {
  const { commandTimeoutMs, onError } = { ...DEFAULTS, ...options }
  const cluster = CLUSTER_URL.exec(url)
  if (!cluster && !/^rediss?:\/\//.test(url)) {
    throw new Error('REDIS_URL begins with redis://, rediss://, redis+cluster:// or rediss+cluster://')
  }
  const client = cluster ? openCluster(cluster, commandTimeoutMs) : new Redis(url, standaloneOptions(commandTimeoutMs))
  // Without a listener the client writes each failure to the console.
  client.on('error', onError)
  return client
}

/** Resolves once Redis answers; otherwise ends the client and says what is wrong with the server at the URL. */
export async function redisReady(client: RedisClient, url: string, withinMs = 10_000): Promise<void> {
  try {
    await ready(client, withinMs)
    if (!client.isCluster && /^cluster_enabled:1/m.test(await client.info('cluster'))) {
      throw new Error('it is a cluster: write redis+cluster:// (rediss+cluster:// with TLS)')
    }
  } catch (cause) {
    client.disconnect()
    // Not the whole URL: it may hold a password.
    const hosts = url.replace(/^[a-z+]+:\/\/(?:.*@)?/, '').replace(/[/?].*$/, '')
    const reason = (cause instanceof Error ? cause.message : String(cause)).replace(/\.$/, '')
    throw new Error(`Redis at ${hosts} cannot be used: ${reason}. Check REDIS_URL.`, { cause })
  }
}

/** A time-out counts from the call on, so nothing waits longer, whatever happens to the connection meanwhile. */
function commonOptions(commandTimeoutMs: number) {
  return {
    commandTimeout: commandTimeoutMs,
    connectTimeout: 2 * commandTimeoutMs,
    // A peer that vanished without a word: armed only while an answer is owed.
    socketTimeout: 5 * commandTimeoutMs,
    // After a failover the old master refuses writes; a new connection finds the new one.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  } satisfies RedisOptions
}

/** Commands outlive one broken connection (all of them may be sent twice), and no more than that. */
function standaloneOptions(commandTimeoutMs: number): RedisOptions {
  return { ...commonOptions(commandTimeoutMs), maxRetriesPerRequest: 1, retryStrategy: backoffMs }
}

function openCluster(match: RegExpExecArray, commandTimeoutMs: number): Cluster {
  const [, tls, credentials = '', hosts = ''] = match
  const [username = '', password = ''] = credentials.split(':').map(decodeURIComponent)
  const nodes = hosts.split(',').map((one) => {
    const [, host = '', port] = /^(.*?)(?::(\d+))?$/.exec(one) ?? []
    return { host, port: Number(port ?? 6379) }
  })
  const options: ClusterOptions = {
    clusterRetryStrategy: backoffMs,
    // Commands of a cluster's queue have no time-out: without a queue they fail at once.
    enableOfflineQueue: false,
    maxRedirections: 5,
    slotsRefreshTimeout: commandTimeoutMs,
    redisOptions: {
      ...commonOptions(commandTimeoutMs),
      ...(username ? { username } : {}),
      ...(password ? { password } : {}),
      ...(tls ? { tls: {} } : {}),
    },
    // Certificates name hosts, not addresses.
    ...(tls ? { dnsLookup: (host, done) => done(null, host) } : {}),
  }
  return new Cluster(nodes, options)
}

function backoffMs(attempt: number): number {
  return Math.min(50 * attempt, MOST_BACKOFF_MS)
}

async function ready(client: RedisClient, withinMs: number): Promise<void> {
  if (client.status === 'ready') return
  let last: Error | undefined
  const remember = (error: Error & { lastNodeError?: Error }) => {
    const reason = error.lastNodeError ?? error
    // That it is closed says nothing; why was said before.
    if (reason.message !== 'Connection is closed.') last = reason
  }
  client.on('error', remember)
  client.on('node error', remember)
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(last ?? new Error(`it is not ready within ${withinMs} ms`)), withinMs)
      client.once('ready', () => {
        clearTimeout(timer)
        resolve()
      })
    })
  } finally {
    client.off('error', remember)
    client.off('node error', remember)
  }
}
