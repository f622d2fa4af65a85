import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { type Api, apiOf } from '../support/api.ts'
import {
  askPostgres,
  COMMAND,
  eventually,
  launch,
  launchStart,
  newDataFolder,
  type Product,
  readyProduct,
  removeDataFolder,
  startProduct,
} from '../support/product.ts'
import { drawSeed, randomOf } from '../support/random.ts'
import { writeParquet } from '../support/write-parquet.ts'

/** Issue 5: bulk import for CSV, NDJSON and Parquet with a mapping file and resume after a kill, reverted as a whole. */
// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 })

const random = randomOf(drawSeed('import'))
const ROWS = 10_000
const FIRST_MS = Date.UTC(2025, 2, 1)
const rows = Array.from({ length: ROWS }, (_, index) => ({
  customer: `customer-${random.below(5)}`,
  at: FIRST_MS + Math.floor((index / ROWS) * 14 * 86_400_000),
  tokens: random.below(1_000),
  // Beyond what a double holds.
  nanos: `${random.below(1e9)}${String(random.below(1e9)).padStart(9, '0')}`,
}))
const costOf = ({ nanos }: { nanos: string }) => `${nanos.slice(0, -9) || '0'}.${nanos.slice(-9)}`
const TOTALS = {
  tokens: String(rows.reduce((sum, { tokens }) => sum + tokens, 0)),
  cost: decimal(rows.reduce((sum, { nanos }) => sum + BigInt(nanos), 0n)),
}
const SCHEMA = {
  type: 'record',
  name: 'LlmRequest',
  fields: [
    { name: 'tokens', type: 'long' },
    { name: 'cost', type: { type: 'bytes', logicalType: 'decimal', precision: 27, scale: 9 } },
  ],
}
const MAPPING = {
  source: { constant: 'export' },
  type: { constant: 'llm.request' },
  subject: 'customer',
  time: 'at',
  data: { tokens: { column: 'tokens', type: 'number' }, cost: { column: 'cost', type: 'number' } },
}

let folder: string
let product: Product & { key: string }
let files: string
let api: Api
let made = 0

beforeAll(async () => {
  files = mkdtempSync(join(tmpdir(), 'tallyline-files-'))
  folder = newDataFolder()
  product = await startProduct(folder)
})
afterAll(async () => {
  await product.stop()
  await removeDataFolder(folder)
  rmSync(files, { recursive: true })
})
/** Each test has a tenant of its own. */
let key: string
beforeEach(async () => {
  const operator = apiOf(product.url, product.key)
  const tenant = `import-${made++}`
  await operator.call('PUT', `/tenants/${tenant}`)
  const permissions = ['usage:create', 'usage:backfill', 'usage:read', 'event-types:create', 'event-types:read']
  const all = [...permissions, 'meters:create'].map((one) => `billing:${one}`)
  key = (await operator.call<{ key: string }>('POST', `/tenants/${tenant}/keys`, { permissions: all })).key
  api = apiOf(product.url, key)
  await api.call('PUT', '/event-types/llm.request', { schema: SCHEMA })
  for (const value of ['tokens', 'cost'])
    await api.call('PUT', `/meters/${value}`, { event_type: 'llm.request', aggregation: 'sum', value })
})

function fileOf(name: string, text: string): string {
  writeFileSync(join(files, name), text)
  return join(files, name)
}
const mapFile = (mapping: object = MAPPING) => fileOf(`mapping-${made}.json`, JSON.stringify(mapping))
const launchImport = (...argv: string[]) => launch([COMMAND, 'import', '--url', product.url, '--key', key, ...argv], {})
async function importFile(...argv: string[]) {
  const command = launchImport(...argv)
  const { code } = await command.exited
  return { code, stdout: command.stdout(), stderr: command.stderr() }
}

type Usage = { total: { quantity: string; events: number } }
const usageOf = async (meter: string) =>
  (await api.call<Usage>('GET', `/usage?meter=${meter}&from=2025-01-01T00:00:00Z&to=2026-01-01T00:00:00Z`)).total
/** Waits until usage knows so many events. */
const usage = async (events: number) => {
  const tokens = await eventually(
    () => usageOf('tokens'),
    (seen) => seen.events === events,
    120_000,
  )
  return { events: tokens.events, tokens: tokens.quantity, cost: (await usageOf('cost')).quantity }
}
const rowsDone = (state: string) =>
  existsSync(state) ? (JSON.parse(readFileSync(state, 'utf8')) as { rows_done: number }).rows_done : 0

/** Starts the import, kills it with SIGKILL when part of it is acknowledged, and lets another one finish. */
async function importKilled(...argv: [string, ...string[]]) {
  const state = `${argv[0]}.tallyline-import`
  const first = launchImport(...argv)
  const seen = await eventually(
    async () => rowsDone(state),
    (done) => done > 0,
    120_000,
  )
  await first.crash()
  expect(await first.exited).toEqual({ code: null, signal: 'SIGKILL' })
  const before = rowsDone(state)
  expect(seen, first.stderr()).toBeGreaterThan(0)
  expect(before).toBeLessThan(ROWS)
  const second = await importFile(...argv)
  expect(second.stderr).toContain(`going on after row ${before}\n`)
  expect(existsSync(state)).toBe(false)
  return second
}
const ALL_ACCEPTED = { code: 0, stdout: `accepted ${ROWS}, duplicate 0, rejected 0, quota exceeded 0, not sent 0\n` }

const csv = () => [
  'customer,at,tokens,cost',
  ...rows.map((row) => `${row.customer},${at(row)},${row.tokens},${costOf(row)}`),
]
const at = (row: { at: number }) => new Date(row.at).toISOString().replace('T', ' ').replace('Z', '')

test('a CSV, killed half-way and gone on with: usage is that of the file; once more changes nothing', async () => {
  const file = fileOf('usage.csv', `${csv().join('\n')}\n`)
  expect(await importKilled(file, '--map', mapFile())).toMatchObject(ALL_ACCEPTED)
  expect(await usage(ROWS)).toEqual({ events: ROWS, ...TOTALS })
  expect(await importFile(file, '--map', mapFile())).toMatchObject(ALL_ACCEPTED)
  // What comes last is stored last: when it counts, all copies before it were seen.
  const last = fileOf('last.csv', `${csv()[0]}\ncustomer-9,2025-12-01 00:00:00,0,0\n`)
  expect(await importFile(last, '--map', mapFile())).toMatchObject({ code: 0 })
  expect(await usage(ROWS + 1)).toEqual({ events: ROWS + 1, ...TOTALS })
})

test('an NDJSON of events without ids, killed half-way and gone on with', async () => {
  const event = (row: (typeof rows)[number]) => {
    const head = JSON.stringify({
      ...{ source: 'export', type: 'llm.request', subject: row.customer },
      time: new Date(row.at).toISOString(),
    })
    // A number with more digits than a double has.
    return `${head.slice(0, -1)},"data":{"tokens":${row.tokens},"cost":${costOf(row)}}}`
  }
  const file = fileOf('usage.ndjson', rows.map(event).join('\n'))
  expect(await importKilled(file)).toMatchObject(ALL_ACCEPTED)
  expect(await usage(ROWS)).toEqual({ events: ROWS, ...TOTALS })
})

test('a Parquet file as a backfill, killed half-way and gone on with, then reverted as a whole', async () => {
  const text = fileOf('for-parquet.csv', `${csv().join('\n')}\n`)
  const file = join(files, 'usage.parquet')
  await writeParquet(text, file, {
    customer: 'String',
    at: "DateTime64(3, 'UTC')",
    tokens: 'UInt32',
    cost: 'Decimal(27, 9)',
  })
  const { source: _, ...mapping } = MAPPING
  const imported = await importKilled(file, '--map', mapFile(mapping), '--backfill', 'march')
  expect(imported).toMatchObject(ALL_ACCEPTED)
  expect(await usage(ROWS)).toEqual({ events: ROWS, ...TOTALS })
  type Backfill = { id: string; state: string; source: string; events: number; counts: { voided: number } }
  const { backfills } = await api.call<{ backfills: Backfill[] }>('GET', '/backfills')
  expect(backfills).toMatchObject([{ name: 'march', source: 'backfill:march', state: 'closed' }])
  const [backfill] = backfills
  const read = () => api.call<Backfill>('GET', `/backfills/${backfill?.id}`)
  expect(await read()).toMatchObject({ events: ROWS })
  await api.call('POST', `/backfills/${backfill?.id}/revert`)
  await killedInRevert()
  expect(await eventually(read, ({ state }) => state === 'reverted', 120_000)).toMatchObject({
    counts: { voided: ROWS },
  })
  expect(await usage(0)).toEqual({ events: 0, tokens: '0', cost: '0' })
})

/** Kills the product with SIGKILL when some pages of the revert are voided and others are not, and starts it again. */
async function killedInRevert(): Promise<void> {
  const look = 'SELECT state, voided::int FROM backfills'
  const seen = () => askPostgres<{ state: string; voided: number }>(folder, look)
  while ((await seen())[0]?.voided === 0);
  await product.crash()
  const [left] = await seen()
  expect(left?.state).toBe('reverting')
  expect(left?.voided).toBeLessThan(ROWS)
  product = { ...(await readyProduct(launchStart(folder))), key: product.key }
  api = apiOf(product.url, key)
}

function decimal(nanos: bigint): string {
  const text = String(nanos).padStart(10, '0')
  return `${text.slice(0, -9)}.${text.slice(-9)}`.replace(/0+$/, '').replace(/\.$/, '')
}
