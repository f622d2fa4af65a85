import { join } from 'node:path'
import { type Child, note, startChild } from '../child.ts'
import { ownEnv } from '../database.postgres.ts'
import { ALL_SUBJECTS } from '../events.ts'
import type { Line } from '../fact.ts'
import type { Figure } from '../figure.ts'
import type { RoleInput, RoleStarted } from '../role-process.ts'
import { measureBatches } from './batches.ts'
import { checkBody } from './check-body.ts'
import { measureChecks } from './checks.ts'
import type { FloorInput } from './floor-process.ts'
import { openRedisGauge, type RedisGauge } from './redis-cpu.redis.ts'

/** What is measured: the product and the floor, who loads them, and Redis where there is one. */
export type Bench = {
  product: Child
  target: RoleStarted
  floor: Child
  floorUrl: string
  checks: Child
  events: Child
  redis: RedisGauge | undefined
}

/** What a question about a quota costs beside one bare look-up, and what limits add to the events of a batch. */
export const quota: Figure = async (input) => {
  const { folder, servers } = input
  const start = (script: string, name: string) =>
    startChild(new URL(script, import.meta.url), join(folder, `${name}.log`))
  const children = {
    product: start('../role-process.ts', 'ingest'),
    floor: start('./floor-process.ts', 'floor'),
    checks: start('./load-process.ts', 'checks'),
    events: start('../edge/load-process.ts', 'events'),
  }
  const redis = servers && openRedisGauge(servers.env.REDIS_URL)
  try {
    const env = servers ? await ownEnv(servers) : {}
    const roleInput: RoleInput = { role: 'ingest', env, folder: join(folder, 'ingest') }
    const target = await children.product.ask<RoleStarted>('start', roleInput)
    const floorInput: FloorInput = { redisUrl: servers?.env.REDIS_URL, folder: join(folder, 'floor') }
    const floorUrl = await children.floor.ask<string>('start', floorInput)
    await loadCounters(target)
    const bench: Bench = { ...children, target, floorUrl, redis }
    const lines: Line[] = []
    note('checks')
    lines.push(...(await measureChecks(input, bench)))
    note('batches with and without limits')
    lines.push(...(await measureBatches(input, bench)))
    return lines
  } finally {
    await Promise.all(Object.values(children).map((child) => child.stop()))
    redis?.close()
  }
}

/** While the log is empty, one request loads the counters of all subjects: nobody needs to catch up with it. */
async function loadCounters({ url, key }: RoleStarted): Promise<void> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const asked = { method: 'POST', headers, body: checkBody(ALL_SUBJECTS) }
  const response = await fetch(`${url}/api/v1/quota/check`, asked)
  if (response.status !== 200) throw new Error(`${url} answered ${response.status}: ${await response.text()}`)
}
