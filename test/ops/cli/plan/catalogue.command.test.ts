import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { ConfigCache } from '../../../../ingest/accept/config.ts'
import { entitlementsDoor } from '../../../../ingest/doors/entitlements.http.ts'
import { planCommand } from '../../../../ops/cli/plan.command.ts'
import { buildDoors } from '../../../invoicer/support/doors.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'

/** Issue 7, pricing as code: `plan export | diff | apply` of products, plans in them, and coupons. */
const NOW = Date.UTC(2024, 0, 10, 12)
let database: TestDatabase
let doors: ReturnType<typeof buildDoors>
let url: string
let folder: string
let tenant: number
let tenants = 0
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tallyline-catalogue-test-'))
  database = await createTestDatabase()
  doors = buildDoors(database, { now: () => NOW })
  const config = { invalidate: () => undefined } as unknown as ConfigCache
  entitlementsDoor(doors.app, { pool: database.pool, config, now: () => NOW })
  url = await doors.app.listen({ port: 0, host: '127.0.0.1' })
})
afterAll(async () => {
  rmSync(folder, { recursive: true })
  await doors.invoicer.stop()
  await doors.app.close()
  await database.drop()
})
beforeEach(async () => {
  tenants += 1
  tenant = await database.createTenant(`catalogue-${tenants}`)
})

async function run(argv: string[], as = tenant) {
  const out = { stdout: '', stderr: '' }
  const into = (name: 'stdout' | 'stderr') => ({ write: (text: string) => (out[name] += text) })
  const env = { TALLYLINE_URL: url, TALLYLINE_KEY: String(as) }
  const deps = { stdout: into('stdout'), stderr: into('stderr'), now: () => NOW, confirm: undefined }
  return { code: await planCommand(argv, env, deps), ...out }
}
const fileOf = (text: string) => {
  const file = join(folder, 'catalogue.yaml')
  writeFileSync(file, text)
  return file
}
const get = (path: string, as = tenant) => doors.call(as, 'GET', path)

const CATALOGUE = `
products:
  - key: pro
    name: Pro
    description: For teams.
    metadata: {page: pricing}
    prices: {USD: 250.00, JPY: 30000}
  - {key: old, name: Old, description: null, archived: true }
plans:
  - key: pro-month
    name: Pro, a month
    product: pro
    currency: USD
    interval: month
    charges: [{key: base, name: Base, price: {model: flat, amount: 20.00}}]
    entitlements: {seats: {type: static, value: 5}}
  - key: pro-legacy
    name: Pro, as it was
    product: pro
    archived: true
    currency: USD
    interval: year
    charges: [{key: base, name: Base, price: {model: flat, amount: "100"}}]
coupons:
  - {key: launch, name: Launch, percent: 20.0, cycles: 3, charges: [base], max_redemptions: 100}
  - {key: gone, name: Gone, amount: 10.00, currency: USD, cycles: null, redeem_by: "2024-03-01T00:00:00+01:00", archived: true}
`

describe('a catalogue as a file', () => {
  test('applied, exported, applied to an empty tenant and exported again, it is the same file', async () => {
    const applied = await run(['apply', fileOf(CATALOGUE), '--yes'])
    expect(applied).toMatchObject({ code: 0, stderr: '' })
    expect(applied.stdout).toContain('Applied: 2 products, 2 plans, 2 coupons.')
    expect((await get('/products/pro')).body).toMatchObject({
      ...{ metadata: { page: 'pricing' }, prices: { USD: '250', JPY: '30000' }, archived_at: null },
      plans: [
        { key: 'pro-month', archived_at: null },
        { key: 'pro-legacy', archived_at: '2024-01-10T12:00:00.000Z' },
      ],
    })
    expect((await get('/products/old')).body.archived_at).toBe('2024-01-10T12:00:00.000Z')
    expect((await get('/coupons/launch')).body).toMatchObject({
      percent: '20',
      max_redemptions: 100,
      archived_at: null,
    })
    expect((await get('/coupons/gone')).body).toMatchObject({ amount: '10.00', archived_at: expect.any(String) })
    const exported = await run(['export'])
    expect(exported).toMatchObject({ code: 0, stderr: '' })
    const other = await database.createTenant(`catalogue-other-${tenants}`)
    const file = fileOf(exported.stdout)
    expect((await run(['diff', file], other)).code).toBe(1)
    expect((await run(['apply', file, '--yes'], other)).code).toBe(0)
    expect(await run(['export'], other)).toEqual(exported)
    for (const as of [tenant, other]) {
      for (const same of [file, fileOf(CATALOGUE)]) {
        const diff = await run(['diff', same], as)
        expect(diff).toMatchObject({ code: 0, stderr: '' })
        expect(diff.stdout.match(/: as it is\n/g)).toHaveLength(6)
      }
      // Applied twice, it asks for nothing and changes nothing.
      const events = await get('/billing-events?limit=999', as)
      expect((await run(['apply', file, '--yes'], as)).code).toBe(0)
      expect(await get('/billing-events?limit=999', as)).toEqual(events)
    }
  })

  test('changes products and places of plans at once, and makes no version for it', async () => {
    await run(['apply', fileOf(CATALOGUE), '--yes'])
    const changed = CATALOGUE.replace('name: Pro\n', 'name: Pro plus\n')
      .replace('USD: 250.00, JPY: 30000', 'USD: 275')
      .replace('product: pro\n    archived: true', 'product: old\n    archived: false')
    const applied = await run(['apply', fileOf(changed), '--yes'])
    expect(applied).toMatchObject({ code: 0, stderr: '' })
    expect(applied.stdout).toContain(
      [
        '~ product "pro": changed, at once',
        '      - name: "Pro"',
        '      + name: "Pro plus"',
        '      - prices.JPY: "30000"',
        '      - prices.USD: "250"',
        '      + prices.USD: "275"',
        '',
      ].join('\n'),
    )
    expect(applied.stdout).toContain('~ plan "pro-legacy": as it is, but for its place in the catalogue\n')
    expect(applied.stdout).toContain('Applied: 1 product, 1 plan.')
    expect((await get('/products/pro')).body).toMatchObject({ name: 'Pro plus', prices: { USD: '275' } })
    expect((await get('/products/pro')).body.prices).toEqual({ USD: '275' })
    expect((await get('/plans/pro-legacy')).body).toMatchObject({ product: 'old', archived_at: null, version: 1 })
    expect((await run(['diff', fileOf(changed)])).code).toBe(0)
  })

  test('leaves alone what it does not name, and takes away nothing that it leaves out', async () => {
    await run(['apply', fileOf(CATALOGUE), '--yes'])
    const exported = await run(['export'])
    const silent = fileOf('products: [{key: pro, name: Pro}]\n')
    expect(await run(['diff', silent])).toMatchObject({ code: 0, stdout: '  product "pro": as it is\n' })
    // A file from before there were products.
    const before = CATALOGUE.replace(/products:[\s\S]*plans:/, 'plans:')
      .replace(/coupons:[\s\S]*/, '')
      .replaceAll(/ +(product: pro|archived: true)\n/g, '')
    expect(before).not.toContain('pro\n')
    expect((await run(['apply', fileOf(before), '--yes'])).code).toBe(0)
    expect(await run(['export'])).toEqual(exported)
  })

  test('goes on where an apply was killed between a plan and its place', async () => {
    await run(['apply', fileOf(CATALOGUE), '--yes'])
    await doors.call(tenant, 'PATCH', '/plans/pro-legacy', { product: null, archived: false })
    const again = await run(['apply', fileOf(CATALOGUE), '--yes'])
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('Applied: 1 plan.') })
    expect((await get('/plans/pro-legacy')).body).toMatchObject({ product: 'pro', version: 1 })
  })

  test.each<[string, (yaml: string) => string, RegExp]>([
    [
      'another content of a coupon',
      (yaml) => yaml.replace('percent: 20.0', 'percent: 25'),
      /! refused: .*never changes/,
    ],
    [
      'an archived coupon again',
      (yaml) => yaml.replace(', archived: true}\n', ', archived: false}\n'),
      /never taken back/,
    ],
    ['a product that is nowhere', (yaml) => yaml.replace('product: pro\n', 'product: none\n'), /no product "none"/],
    ['a price of a product', (yaml) => yaml.replace('JPY: 30000', 'JPY: 0'), /prices\.JPY.*above 0/],
    [
      'a coupon that takes off too much',
      (yaml) => `${yaml}  - {key: x, name: X, percent: 101, cycles: 1}\n`,
      /at most 100/,
    ],
  ])('%s is refused, and then nothing at all is applied', async (_, change, message) => {
    await run(['apply', fileOf(CATALOGUE), '--yes'])
    const events = await get('/billing-events?limit=999')
    const changed = change(CATALOGUE).replace('products:\n', 'products:\n  - {key: new, name: New}\n')
    const { code, stdout, stderr } = await run(['apply', fileOf(changed), '--yes'])
    expect(code).toBe(1)
    expect(stdout + stderr).toMatch(message)
    expect(await get('/billing-events?limit=999')).toEqual(events)
  })

  test('exports named plans with the products that they are of', async () => {
    await run(['apply', fileOf(CATALOGUE), '--yes'])
    const one = await run(['export', '--plan', 'pro-month'])
    expect(one.stdout).toContain('key: pro-month')
    expect(one.stdout).toContain('name: Pro\n')
    expect(one.stdout).not.toMatch(/pro-legacy|key: old|coupons/)
    const other = await database.createTenant(`catalogue-one-${tenants}`)
    expect((await run(['apply', fileOf(one.stdout), '--yes'], other)).code).toBe(0)
  })
})
