import { Redis } from 'ioredis'

export type RedisGauge = { /** Used so far. */ cpuUs(): Promise<number>; close(): void }

/** CPU time by the server's own account, to the microsecond: where a process shows ticks, or nothing in a container. */
export function openRedisGauge(url: string): RedisGauge {
  const client = new Redis(url)
  return { cpuUs: async () => cpuUsIn(await client.info('cpu')), close: () => client.disconnect() }
}

/** User and system time of all threads, in what INFO answers. */
export function cpuUsIn(info: string): number {
  const secondsOf = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1])
  const us = (secondsOf('used_cpu_user') + secondsOf('used_cpu_sys')) * 1_000_000
  if (Number.isNaN(us)) throw new Error(`Redis does not tell its CPU time: ${info.slice(0, 200)}`)
  return us
}
