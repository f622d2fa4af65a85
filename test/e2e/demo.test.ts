import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { expectedDemo, shapedTrace, traceUnderTest } from '../ops/cli/demo/expected.ts'
import {
  askPostgres,
  COMMAND,
  launch,
  newDataFolder,
  type Product,
  removeDataFolder,
  startProduct,
} from '../support/product.ts'
import { drawSeed } from '../support/random.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

const seed = drawSeed('demo')
const scratch = mkdtempSync(join(tmpdir(), 'tallyline-demo-'))
afterAll(() => rmSync(scratch, { recursive: true }))

/** A trace as a file; the same text gives the same tenant. */
function traceFile(csv: string, name: string): string {
  writeFileSync(join(scratch, name), csv)
  return join(scratch, name)
}

async function demo(env: Record<string, string>, ...argv: string[]) {
  const command = launch([COMMAND, 'demo', ...argv], env)
  const { code } = await command.exited
  return { code, stdout: command.stdout(), stderr: command.stderr() }
}

/** Issue 3: a trace with rows deleted and duplicated by the seed, or the file that TALLYLINE_TRACE names. */
test('the demo bills a trace to the cent, and a second run on the same folder changes no number', async () => {
  const folder = newDataFolder()
  onTestFinished(() => removeDataFolder(folder))
  const csv = traceUnderTest(seed)
  const trace = traceFile(csv, 'trace.csv')
  const right = { code: 0, stdout: `${JSON.stringify(expectedDemo(csv))}\n` }
  expect(await demo({ TALLYLINE_DATA: folder }, '--trace', trace, '--json'), `seed ${seed}`).toMatchObject(right)
  expect(await demo({ TALLYLINE_DATA: folder }, '--trace', trace, '--json'), `seed ${seed}`).toMatchObject(right)
})

/** Small, over three months, and one row broken: line 12 of the file, data row 10. */
const BROKEN_ROW = 10
const sound = shapedTrace(seed, { rows: 400, firstTimeMs: Date.UTC(2024, 10, 20), spanMs: 60 * 86_400_000 })
const broken = changeRow(sound, (row) => row.replace(/,\d+$/, ',many'))

function changeRow(csv: string, change: (row: string) => string): string {
  return csv
    .split('\r\n')
    .map((line, index) => (index === BROKEN_ROW + 1 ? change(line) : line))
    .join('\r\n')
}

/** A row of nothing is billed like no row; it only counts as an event of its customer. */
function expectedWithout(csv: string) {
  const expected = expectedDemo(changeRow(csv, (row) => row.replace(/,\d+,\d+$/, ',0,0')))
  expected.events -= 1
  expected.invoices[`customer-${BROKEN_ROW % 10}`]!.events -= 1
  return expected
}

let folder: string
let product: Product & { key: string }
const named = () => ({ TALLYLINE_URL: product.url, TALLYLINE_API_KEY: product.key })
const demoTenants = () => askPostgres<{ slug: string }>(folder, "SELECT slug FROM tenants WHERE slug LIKE 'demo-%'")

beforeAll(async () => {
  folder = newDataFolder()
  product = await startProduct(folder)
})
afterAll(async () => {
  await product.stop()
  await removeDataFolder(folder)
})

test('with a broken row nothing is sent, no tenant is made, and the line is named', async () => {
  const trace = traceFile(broken, 'broken.csv')
  const { code, stdout, stderr } = await demo(named(), '--trace', trace, '--json')
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toContain(`${trace}, line ${BROKEN_ROW + 2}: GeneratedTokens "many" is not a whole number`)
  expect(stderr).toContain('Nothing was sent: 1 broken row.')
  expect(await demoTenants()).toEqual([])
})

test('--skip-bad goes on without the row, counts it, and shifts no id', async () => {
  const trace = traceFile(broken, 'broken.csv')
  const { code, stdout, stderr } = await demo(named(), '--trace', trace, '--json', '--skip-bad')
  expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: `${JSON.stringify(expectedWithout(sound))}\n` })
  expect(stderr).toContain('skipped 1 broken row')
  expect(await demoTenants()).toHaveLength(1)
})

test('the table of the generated trace shows ten paid invoices, and no number of it depends on the day', async () => {
  const { code, stdout, stderr } = await demo(named())
  expect(code, stderr).toBe(0)
  expect(stdout.match(/^INV-\d{6} {2}customer-\d {2}2025-03-01 to 2025-04-01 {2}paid$/gm)).toHaveLength(10)
  expect(stdout).toContain('10 invoices, 20,000 events, ')
})
