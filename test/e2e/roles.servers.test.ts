import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createLogger } from '../../ops/host/logger.ts'
import { type Stack, startStack } from '../../ops/stack/stack.ts'
import { openClickHouse } from '../../ops/stores/clickhouse-http.clickhouse.ts'
import { openKafka } from '../../ops/stores/kafka.kafka.ts'
import { topicEnds } from '../../schemas/event/topic.kafka.ts'
import { PERMISSIONS } from '../../schemas/http/permissions.ts'
import { expectedDemo, shapedTrace } from '../ops/cli/demo/expected.ts'
import { oneUrl } from '../support/one-url.ts'
import { COMMAND, type Launched, launch } from '../support/product.ts'

const seed = Number(process.env.TALLYLINE_SEED ?? Math.floor(Math.random() * 2 ** 31))
const files = mkdtempSync(join('/tmp', 'tallyline-roles-'))
const dataFolder = join(files, 'never-made')
let stack: Stack
let env: Record<string, string>
const processes: Launched[] = []

beforeAll(async () => {
  stack = await startStack({})
  env = { ...stack.env, TALLYLINE_DATA: dataFolder, SEAL_CLOCK_MARGIN_MS: '1000', KAFKA_PARTITIONS: '4', PORT: '0' }
})
afterAll(async () => {
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
  const key = (await run('keys', 'create', '--permissions', PERMISSIONS.join(','))).trim()
  const [ingest, aggregator, invoicer] = await Promise.all(['ingest', 'aggregator', 'invoicer'].map(startRole))
  const proxy = await oneUrl({ ingest: ingest!, aggregator: aggregator!, invoicer: invoicer! })
  const trace = join(files, 'trace.csv')
  const csv = shapedTrace(seed)
  writeFileSync(trace, csv)
  env = { ...env, TALLYLINE_URL: proxy.url, TALLYLINE_API_KEY: key }
  const expected = `${JSON.stringify(expectedDemo(csv))}\n`
  expect(await run('demo', '--trace', trace, '--json')).toBe(expected)
  expect(await run('demo', '--trace', trace, '--json'), 'every event again changes no number').toBe(expected)
  await proxy.close()
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

test('a role without its servers is refused with a sentence that says what to set', async () => {
  const refused = launch([COMMAND, 'aggregator'], {
    PORT: '0',
    TALLYLINE_DATA: dataFolder,
    KAFKA_BROKERS: stack.kafka.brokers,
  })
  expect((await refused.exited).code).toBe(1)
  expect(refused.stderr()).toMatch(/set CLICKHOUSE_URL .*DATABASE_URL/)
})
