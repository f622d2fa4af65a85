import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createTallyline, type Tallyline } from '../../sdk/typescript/src/tallyline.ts'
import { EVENT_TYPE, METERS, setUpMeters } from '../integrity/catalog.ts'
import { type Api, apiOf } from '../support/api.ts'
import { eventually, launch, newDataFolder, type Product, removeDataFolder, startProduct } from '../support/product.ts'
import { REPOSITORY } from '../support/source-files.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

const EXAMPLES = join(REPOSITORY, 'sdk/typescript/examples')
let folder: string
let product: Product
let key: string
let api: Api

beforeAll(async () => {
  folder = newDataFolder()
  const started = await startProduct(folder)
  product = started
  key = started.key
  api = apiOf(product.url, key)
  await setUpMeters(api)
})
afterAll(async () => {
  await product.stop()
  await removeDataFolder(folder)
})

const limit = (subject: string, units: string) =>
  api.call('PUT', `/quota/${subject}/${METERS.generated}`, { limit: units, window: 'month' })
const usageOf = async (subject: string): Promise<string> => {
  const query = `meter=${METERS.generated}&subject=${subject}&from=2020-01-01T00:00:00Z&to=2090-01-01T00:00:00Z`
  const { total } = await api.call<{ total: { quantity: string } }>('GET', `/usage?${query}`)
  return total.quantity
}
const usageBecomes = (subject: string, quantity: string) =>
  eventually(
    () => usageOf(subject),
    (seen) => seen === quantity,
  )
const standingOf = async (subject: string) => {
  const { limits } = await api.call<{ limits: { used: string; remaining: string }[] }>('GET', `/quota/${subject}`)
  return limits.map(({ used, remaining }) => ({ used, remaining }))
}
const example = (name: string, env: Record<string, string> = {}) =>
  launch([join(EXAMPLES, name)], {
    TALLYLINE_URL: product.url,
    TALLYLINE_API_KEY: key,
    METER: METERS.generated,
    ...env,
  })
const clientOf = (firstQuantity: number) =>
  createTallyline({ url: product.url, key, quota: { whenAway: 'closed', firstQuantity } })

/** Issue 6: examples that run in CI against `npm start`. */
describe('the examples against the product', () => {
  test('emit: every event is acknowledged and counted', async () => {
    const run = example('emit.ts')
    expect(await run.exited).toEqual({ code: 0, signal: null })
    expect(run.stderr()).toBe('')
    expect(run.stdout()).toBe('acknowledged 1000, waiting 0\n')
    expect(await usageBecomes('customer-7', '4400')).toBe('4400')
  })

  test('llm: calls are checked by an estimate and counted by their tokens', async () => {
    await limit('customer-llm', '300')
    const run = example('llm.ts')
    expect(await run.exited).toEqual({ code: 0, signal: null })
    // 200 must be free before a call, and each takes 20: the seventh finds 180.
    expect(run.stdout()).toBe('quota_exceeded after 6 calls\nacknowledged 6, waiting 0\n')
    expect(await usageBecomes('customer-llm', '120')).toBe('120')
    expect(await standingOf('customer-llm')).toEqual([{ used: '120', remaining: '180' }])
  })

  test('fastify: requests are counted, and refused beyond the limit', async () => {
    await limit('customer-web', '100')
    const run = example('fastify.ts', { PORT: '0' })
    const url = await run.printed(/listens at (http:\S+)\n/)
    const answers = []
    for (let n = 0; n < 4; n++) answers.push((await fetch(url, { headers: { 'x-customer': 'customer-web' } })).status)
    expect(answers).toEqual([200, 200, 429, 429])
    await run.stop()
    expect(run.stdout()).toContain('acknowledged 2, waiting 0\n')
    expect(await usageBecomes('customer-web', '88')).toBe('88')
    expect(await standingOf('customer-web')).toEqual([{ used: '88', remaining: '12' }])
  })
})

/** Issue 6: the wire contract of leases, client and server for real. */
describe('leases from the product', () => {
  test('several clients give away exactly the limit, and what is unused goes back', async () => {
    await limit('customer-shared', '500')
    const clients = [1, 7, 20, 50].map(clientOf)
    const work = async (client: Tallyline) => {
      const data = { context_tokens: 1, generated_tokens: 1 }
      let admitted = 0
      for (let n = 0; n < 200; n++) {
        const { allowed } = await client.consume(
          { type: EVENT_TYPE, subject: 'customer-shared', data },
          METERS.generated,
        )
        if (allowed) admitted++
      }
      return admitted
    }
    const admitted = (await Promise.all(clients.map(work))).reduce((sum, each) => sum + each, 0)
    for (const client of clients) expect(await client.close()).toMatchObject({ waiting: 0 })
    expect(admitted).toBeLessThanOrEqual(500)
    expect(admitted).toBeGreaterThan(400)
    const used = String(admitted)
    expect(await standingOf('customer-shared')).toEqual([{ used, remaining: String(500 - admitted) }])
    expect(await usageBecomes('customer-shared', used)).toBe(used)
  })

  test('a subject without a limit is let through without a hold', async () => {
    const client = clientOf(10)
    const decision = await client.check('customer-free', METERS.generated, 1_000_000)
    expect(decision).toEqual({ allowed: true, reason: 'no_limit', hold: undefined })
    await client.close()
  })
})
