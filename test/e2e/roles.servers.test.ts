import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createLogger } from '../../ops/host/logger.ts'
import { type Stack, startStack } from '../../ops/stack/stack.ts'
import { openClickHouse } from '../../ops/stores/clickhouse-http.clickhouse.ts'
import { openKafka } from '../../ops/stores/kafka.kafka.ts'
import { topicEnds } from '../../schemas/event/topic.kafka.ts'
import { PERMISSIONS } from '../../schemas/http/permissions.ts'
import { EVENT_TYPE, METERS, openTenant, setUpMeters } from '../integrity/catalog.ts'
import { expectedDemo, shapedTrace } from '../ops/cli/demo/expected.ts'
import { apiOf } from '../support/api.ts'
import { oneUrl } from '../support/one-url.ts'
import { COMMAND, type Launched, launch } from '../support/product.ts'

const seed = Number(process.env.TALLYLINE_SEED ?? Math.floor(Math.random() * 2 ** 31))
const files = mkdtempSync(join('/tmp', 'tallyline-roles-'))
const dataFolder = join(files, 'never-made')
let stack: Stack
let env: Record<string, string>
const processes: Launched[] = []
let proxy: Awaited<ReturnType<typeof oneUrl>>
let operatorKey: string

beforeAll(async () => {
  stack = await startStack({})
  env = { ...stack.env, TALLYLINE_DATA: dataFolder, SEAL_CLOCK_MARGIN_MS: '1000', KAFKA_PARTITIONS: '4', PORT: '0' }
})
afterAll(async () => {
  await proxy?.close()
  await Promise.all(processes.map((one) => one.stop()))
  await stack.stop()
  rmSync(files, { recursive: true, force: true })
})

async function run(...argv: string[]): Promise<string> {
  const command = launch([COMMAND, ...argv], env)
  const { code } = await command.exited
  expect(code, command.stderr()).toBe(0)
  return command.stdout()
}

async function startRole(role: string): Promise<string> {
  const started = launch([COMMAND, role], env)
  processes.push(started)
  return started.printed(/ready at (http:\S+)\n/)
}

test(`one process a role on four servers prints the embedded product's numbers (seed ${seed})`, async () => {
  await Promise.all([run('migrate'), run('migrate')])
  operatorKey = (await run('keys', 'create', '--permissions', PERMISSIONS.join(','))).trim()
  const [ingest, aggregator, invoicer] = await Promise.all(['ingest', 'aggregator', 'invoicer'].map(startRole))
  proxy = await oneUrl({ ingest: ingest!, aggregator: aggregator!, invoicer: invoicer! })
  const trace = join(files, 'trace.csv')
  const csv = shapedTrace(seed)
  writeFileSync(trace, csv)
  env = { ...env, TALLYLINE_URL: proxy.url, TALLYLINE_API_KEY: operatorKey }
  const expected = `${JSON.stringify(expectedDemo(csv))}\n`
  expect(await run('demo', '--trace', trace, '--json')).toBe(expected)
  expect(await run('demo', '--trace', trace, '--json'), 'every event again changes no number').toBe(expected)
})

test('each server holds its rows, and nothing is embedded', async () => {
  const store = openClickHouse(stack.clickhouse.url)
  const [events] = await store.query<{ identities: string }>(
    'SELECT toString(uniqExact(tenant, source, id)) AS identities FROM events',
  )
  expect(Number(events?.identities)).toBe(expectedDemo(shapedTrace(seed)).events)
  const [range] = await store.query<{ log: string }>('SELECT DISTINCT log FROM ingest_ranges')
  await store.close()
  const admin = openKafka([stack.kafka.brokers], createLogger({ level: 'silent' })).admin()
  await admin.connect()
  const ends = await topicEnds(admin, range!.log, 4)
  await admin.disconnect()
  for (const end of ends) expect(end).toBeGreaterThan(0)
  expect(existsSync(dataFolder)).toBe(false)
})

test('a quota is counted in Redis: what fits is taken, what does not is refused', async () => {
  const key = await openTenant(apiOf(proxy.url, operatorKey), 'limited')
  const tenant = apiOf(proxy.url, key)
  await setUpMeters(tenant)
  await tenant.call('PUT', `/quota/limited/${METERS.context}`, { limit: '1000', window: 'month' })
  const send = (id: string, tokens: number) =>
    tenant.send<{ outcomes: unknown[] }>('POST', '/events', {
      ...{ specversion: '1.0', id, source: 'e2e', type: EVENT_TYPE, subject: 'limited' },
      data: { context_tokens: tokens, generated_tokens: 1 },
    })
  const taken = { index: 0, id: 'a', outcome: 'accepted', quota_remaining: '300' }
  expect((await send('a', 700)).body.outcomes).toEqual([taken])
  expect((await send('a', 700)).body.outcomes, 'the same event draws once').toEqual([taken])
  const refused = await send('b', 301)
  expect(refused.status).toBe(429)
  expect(refused.body.outcomes).toEqual([{ index: 0, id: 'b', outcome: 'quota_exceeded', quota_remaining: '300' }])
  const redis = new Redis(stack.redis.url)
  const keys = await redis.keys('quota:*')
  await redis.quit()
  // Since when Redis remembers, the counter, and a mark for the one event that drew on it.
  expect(keys.map((name) => name.replace(/^quota:(\{\d+\}:)?(\w+).*$/s, '$2')).sort()).toEqual([
    'seen',
    'since',
    'used',
  ])
})

/** HC-5, ops/decisions/0022-reconciliation.md: beside roles that run. */
test('a counter that is wrong in Redis is corrected by `quota recalculate`, and by the product within minutes', async () => {
  const recalculate = async (...options: string[]) => {
    const command = launch([COMMAND, 'quota', 'recalculate', ...options], env)
    return { ...(await command.exited), stdout: command.stdout(), stderr: command.stderr() }
  }
  const redis = new Redis(stack.redis.url)
  const [key] = await redis.keys('quota:{*}:used:*')
  for (const [planted, told] of [
    ['650000000', 'counter 650, usage 700, held 0: too low by 50'],
    ['712000000', 'counter 712, usage 700, held 0: too high by 12'],
  ]) {
    await redis.set(key!, planted!)
    const dry = await recalculate('--dry-run')
    expect(dry).toMatchObject({ code: 1, stdout: expect.stringContaining(told!), stderr: '' })
    expect(await redis.get(key!)).toBe(planted)
    const corrected = await recalculate('--tenant', 'limited')
    expect(corrected).toMatchObject({ code: 0, stdout: expect.stringContaining(told!), stderr: '' })
    expect(await redis.get(key!)).toBe('700000000')
  }
  // The product itself looks every minute; of a counter without a number nothing can be under way.
  await redis.set(key!, 'many')
  await expect.poll(() => redis.get(key!), { timeout: 120_000, interval: 500 }).toBe('700000000')
  await redis.quit()
})

test('a role without its servers is refused with a sentence that says what to set', async () => {
  const refused = launch([COMMAND, 'aggregator'], {
    PORT: '0',
    TALLYLINE_DATA: dataFolder,
    KAFKA_BROKERS: stack.kafka.brokers,
  })
  expect((await refused.exited).code).toBe(1)
  expect(refused.stderr()).toMatch(/set CLICKHOUSE_URL .*DATABASE_URL/)
})
