import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { ConfigCache } from '../../../../ingest/accept/config.ts'
import { entitlementsDoor } from '../../../../ingest/doors/entitlements.http.ts'
import { planCommand } from '../../../../ops/cli/plan.command.ts'
import { buildDoors } from '../../../invoicer/support/doors.ts'
import { createMeter } from '../../../invoicer/support/world.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'

/** Issue 7, pricing as code: `plan export | diff | apply` against the doors of invoicer and ingest over HTTP. */
const NOW = Date.UTC(2024, 0, 10, 12)
let database: TestDatabase
let doors: ReturnType<typeof buildDoors>
let url: string
let folder: string
let tenant: number
let tenants = 0
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tallyline-plan-test-'))
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
  tenant = await newTenant()
})

async function newTenant(): Promise<number> {
  tenants += 1
  const id = await database.createTenant(`plans-${tenants}`)
  await createMeter(database, id, 'tokens')
  return id
}

type Confirm = (question: string) => Promise<boolean>
/** The command with the tenant's id as its key, which is all that this host asks for. */
async function run(argv: string[], options: { as?: number; confirm?: Confirm } = {}) {
  const out = { stdout: '', stderr: '' }
  const into = (name: 'stdout' | 'stderr') => ({ write: (text: string) => (out[name] += text) })
  const env = { TALLYLINE_URL: `${url}/`, TALLYLINE_KEY: String(options.as ?? tenant) }
  const deps = { stdout: into('stdout'), stderr: into('stderr'), now: () => NOW, confirm: options.confirm }
  return { code: await planCommand(argv, env, deps), ...out }
}

const fileOf = (text: string) => {
  const file = join(folder, 'plans.yaml')
  writeFileSync(file, text)
  return file
}
const CATALOGUE = `
plans:
  - key: basic
    name: Basic
    currency: USD
    interval: quarter
    every: 2
    alignment: calendar
    proration_basis: day
    grace_seconds: 7200
    charges:
      - {key: base, name: Base, price: {model: flat, amount: 20.00}}
      - key: use
        name: "Tokens: used"
        meter: tokens
        price:
          model: graduated
          tiers:
            - {up_to: "100", unit_amount: 0.000003, flat_amount: "2"}
            - {up_to: null, unit_amount: "0.05"}
          minimum_amount: "5"
          maximum_amount: "4"
    entitlements:
      tokens: {type: metered, meter: tokens, limit: 1500, window: billing_period}
      region: {type: static, value: {eu: true}}
  - key: a/b plan
    name: Another
    currency: EUR
    interval: month
    charges: [{key: base, name: Base, price: {model: flat, amount: "5"}}]
`
const get = (path: string, as = tenant) => doors.call(as, 'GET', path)
const versions = async (key = 'basic') =>
  ((await get(`/plans/${encodeURIComponent(key)}/versions`)).body.versions as { version: number }[] | undefined)?.length

describe('plans as a file', () => {
  test('applied, exported, applied to another tenant and exported again, it is the same file', async () => {
    const applied = await run(['apply', fileOf(CATALOGUE), '--yes'])
    expect(applied).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('Applied: 2 plans.') })
    expect((await get('/plans/basic')).body).toMatchObject({
      ...{
        version: 1,
        interval: 'quarter',
        every: 2,
        alignment: 'calendar',
        proration_basis: 'day',
        grace_seconds: 7200,
      },
      charges: [
        { price: { amount: '20.00' } },
        { meter: 'tokens', price: { tiers: [{ unit_amount: '0.000003' }, {}] } },
      ],
    })
    const exported = await run(['export'])
    expect(exported).toMatchObject({ code: 0, stderr: '' })
    const other = await newTenant()
    const file = fileOf(exported.stdout)
    expect(await run(['diff', file], { as: other })).toMatchObject({ code: 1 })
    expect(await run(['apply', file, '--yes'], { as: other })).toMatchObject({ code: 0 })
    expect(await run(['export'], { as: other })).toEqual(exported)
    // What the file does not name is left alone, and what is named already says the same.
    for (const as of [tenant, other]) {
      expect(await run(['diff', file], { as })).toEqual({
        code: 0,
        stdout: '  plan "a/b plan": as it is\n  plan "basic": as it is\n',
        stderr: '',
      })
      expect((await run(['apply', file], { as })).code).toBe(0)
    }
    const [here, there] = await Promise.all([tenant, other].map((as) => get('/plans/basic', as)))
    expect(there!.body.hash).toBe(here!.body.hash)
    const one = await run(['export', '--plan', 'basic'])
    expect(one.stdout).not.toContain('a/b plan')
    expect(exported.stdout).toContain(one.stdout.split('plans:\n')[1])
  })

  test('nothing is applied before somebody agrees', async () => {
    const file = fileOf(CATALOGUE)
    const unasked = await run(['apply', file])
    expect(unasked).toMatchObject({ code: 1, stderr: expect.stringContaining('say --yes') })
    expect(unasked.stdout).toContain('+ plan "basic": new')
    expect((await run(['apply', file], { confirm: async () => false })).code).toBe(1)
    expect((await run(['diff', file])).stdout).toBe(unasked.stdout)
    expect(await versions()).toBeUndefined()
    const asked: string[] = []
    const confirm = async (question: string) => asked.push(question) > 0
    expect((await run(['apply', file], { confirm })).code).toBe(0)
    expect(asked).toEqual(['Apply this?'])
    expect(await versions()).toBe(1)
  })

  test('a changed plan gets a version, and whoever is subscribed stays', async () => {
    await run(['apply', fileOf(CATALOGUE), '--yes'])
    await doors.call(tenant, 'POST', '/customers', { external_key: 'ann', currency: 'USD', subjects: ['ann'] })
    const subscription = { external_key: 's', customer: 'ann', plan: 'basic', start: '2024-01-01T00:00:00Z' }
    expect((await doors.call(tenant, 'POST', '/subscriptions', subscription)).status).toBe(201)
    const before = await get('/subscriptions/s/preview')
    const changed = fileOf(
      CATALOGUE.replace('20.00', '30.00')
        .replace('limit: 1500', 'limit: 99')
        .replace(/ +region:.*\n/, ''),
    )
    const applied = await run(['apply', changed, '--yes', '--effective-from', '2024-02-01T01:00:59+01:00'])
    expect(applied).toMatchObject({ code: 0, stderr: '' })
    expect(applied.stdout).toContain(
      '~ plan "basic": version 2, from 2024-02-01T00:00:00.000Z:\n    for subscriptions and changes made after it',
    )
    expect(applied.stdout).toContain('- charges[base].price.amount: "20"\n      + charges[base].price.amount: "30"\n')
    expect(await get('/subscriptions/s/preview')).toEqual(before)
    expect((await get('/plans/basic')).body.version).toBe(1)
    expect((await get('/plans/basic?version=2')).body).toMatchObject({ effective_from: '2024-02-01T00:00:00.000Z' })
    expect((await get('/entitlements/plan/basic')).body.entitlements).toMatchObject([
      { feature: 'tokens', entitlement: { limit: '99' } },
    ])
    // The latest version is what a file is compared with and exported as, though it is not in effect yet.
    expect(await run(['diff', changed])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('plan "basic": as it is, from 2024-02-01T00:00:00.000Z\n'),
    })
    const later = await run(['apply', changed, '--yes', '--effective-from', '2024-03-01T00:00:00Z'])
    expect(later).toMatchObject({ code: 1, stdout: expect.stringContaining('! refused: effective_from: version 2') })
    const exported = await run(['export', '--plan', 'basic'])
    expect(exported.stdout).toContain('amount: "30.00"')
    expect(exported.stderr).toContain('version 2, which this is, takes effect at 2024-02-01')
  })

  test.each<[string, (yaml: string) => string, string[], RegExp]>([
    ['another currency', (yaml) => yaml.replace('USD', 'EUR'), [], /! refused: currency: .*another key/],
    ['another interval', (yaml) => yaml.replace('quarter', 'month'), [], /! refused: interval:/],
    ['a date in the past', (yaml) => yaml, ['--effective-from', '2024-01-10T11:59:00Z'], /lies in the past/],
    ['a date far ahead', (yaml) => yaml, ['--effective-from', '2029-01-10T12:01:00Z'], /more than 5 years ahead/],
    ['a date that is none', (yaml) => yaml, ['--effective-from', 'soon'], /no time: soon/],
    ['a date without its offset', (yaml) => yaml, ['--effective-from', '2024-02-01T00:00:00'], /Send RFC 3339/],
    ['a day that is none', (yaml) => yaml, ['--effective-from', '2024-02-30T00:00:00Z'], /no time: 2024-02-30/],
    [
      'a price without its meter',
      (yaml) => yaml.replace('meter: tokens\n        price', 'meter: none\n        price'),
      [],
      /Plan "basic": [\s\S]*invalid_request[\s\S]*charges\.1\.meter.*no meter/,
    ],
    ['a file that is none', () => 'plans: 5', [], /plans must be array/],
  ])('%s is refused, and then nothing at all is applied', async (_, change, more, message) => {
    await run(['apply', fileOf(CATALOGUE), '--yes'])
    // A plan that could be applied comes first.
    const first = change(CATALOGUE).replace(
      'plans:\n',
      `plans:
  - {key: fine, name: Fine, currency: USD, interval: day, charges: [{key: a, name: A, price: {model: flat, amount: "1"}}]}
`,
    )
    const { code, stdout, stderr } = await run(['apply', fileOf(first), '--yes', ...more])
    expect(code).toBeGreaterThan(0)
    expect(stdout + stderr).toMatch(message)
    expect(await versions('fine')).toBeUndefined()
    expect(await versions()).toBe(1)
  })

  test('diff ends with 1 where it found something, and with 2 where it could not look', async () => {
    const file = fileOf(CATALOGUE)
    expect((await run(['diff', file])).code).toBe(1)
    expect(await run(['diff', file, '--key', 'nobody'])).toMatchObject({ code: 2, stdout: '' })
    expect((await run(['apply', file, '--key', 'nobody'])).code).toBe(1)
    expect((await run(['--help'])).stdout).toContain('0 if nothing, 1 if something, 2 if it cannot say')
  })

  test.each<[string[], RegExp]>([
    [[], /Usage/],
    [['apply'], /Usage/],
    [['remove', 'x'], /Usage/],
    [['diff', 'no-such-file.yaml'], /Cannot read the file/],
    [['export', '--plan', 'nobody'], /There is no plan "nobody"/],
    [['export', '--url', 'ftp://x'], /no http address/],
    [['export', '--frobnicate'], /frobnicate/],
  ])('wrong use of it is told: %j', async (argv, message) => {
    const { code, stderr } = await run(argv)
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) })
  })
})
