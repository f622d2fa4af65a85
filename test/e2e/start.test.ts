import { existsSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { EVENT_TYPE, setUpMeters } from '../integrity/catalog.ts'
import { type Api, apiOf } from '../support/api.ts'
import {
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

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

/** One folder through the life of a product: the tests follow each other. */
let folder: string
let product: Product
let key: string

const api = (): Api => apiOf(product.url, key)
const restart = async () => {
  product = await readyProduct(launchStart(folder))
}

beforeAll(async () => {
  folder = newDataFolder()
  const started = await startProduct(folder)
  product = started
  key = started.key
  await setUpMeters(api())
})
afterAll(async () => {
  await product.stop()
  await removeDataFolder(folder)
})

const event = (id: string, tokens: number, subject = 'acme') => ({
  id,
  source: 'e2e',
  type: EVENT_TYPE,
  subject,
  data: { context_tokens: tokens, generated_tokens: 1 },
})
const usageOf = async (subject: string): Promise<string> => {
  const query = `meter=context_tokens&subject=${subject}&from=2020-01-01T00:00:00Z&to=2090-01-01T00:00:00Z`
  const { total } = await api().call<{ total: { quantity: string } }>('GET', `/usage?${query}`)
  return total.quantity
}
const usageBecomes = (subject: string, quantity: string) =>
  eventually(
    () => usageOf(subject),
    (seen) => seen === quantity,
  )

test('start prints the address, the folder and a development key with every permission', async () => {
  expect(product.stdout()).toContain(`Tallyline is ready at ${product.url}\nData: ${folder}\n`)
  expect(product.stdout()).toMatch(/^Development key.*:\ntly_\S+\n/m)
  expect(await api().send('GET', '//healthz')).toMatchObject({ status: 200 })
  expect(await api().send('GET', '//readyz')).toMatchObject({ status: 200 })
})

test('an event shows up in usage', async () => {
  expect(await api().call('POST', '/events', event('one', 300))).toMatchObject({ accepted: 1 })
  expect(await usageBecomes('acme', '300')).toBe('300')
})

test('a second start on the same folder is refused with a sentence, and the first goes on', async () => {
  const second = launchStart(folder)
  expect(await second.exited).toEqual({ code: 1, signal: null })
  expect(second.stderr()).toContain(`Tallyline is already running on ${folder}.`)
  expect(second.stdout()).toBe('')
  await api().call('POST', '/events', event('two', 30))
  expect(await usageBecomes('acme', '330')).toBe('330')
})

test('keys create makes a key beside the running product, which takes it and holds it to its permissions', async () => {
  const argv = ['keys', 'create', '--tenant', 'default', '--permissions', 'billing:usage:read']
  const command = launch([COMMAND, ...argv], { TALLYLINE_DATA: folder })
  expect(await command.exited).toEqual({ code: 0, signal: null })
  expect(command.stdout()).toMatch(/^tly_\S+\n$/)
  const made = apiOf(product.url, command.stdout().trim())
  expect(
    await made.send('GET', '/usage?meter=context_tokens&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z'),
  ).toMatchObject({ status: 200 })
  expect(await made.send('POST', '/events', event('three', 1))).toMatchObject({ status: 403 })
})

test('after kill -9 the next start works by itself, shows no key again, and has everything', async () => {
  await api().call('POST', '/events', event('four', 3))
  await product.crash()
  await restart()
  expect(product.stdout()).not.toContain('tly_')
  expect(await usageBecomes('acme', '333')).toBe('333')
})

type Outcomes = { outcomes: { outcome: string; quota_remaining: string }[] }

test('a quota is enforced while events arrive, and kill -9 leaves its counter exact', async () => {
  await api().call('PUT', '/quota/capped/context_tokens', { limit: '1000', window: 'month' })
  const post = async (id: string, tokens: number) => {
    const { status, body } = await api().send<Outcomes>('POST', '/events', event(id, tokens, 'capped'))
    return [status, body.outcomes[0]?.outcome, body.outcomes[0]?.quota_remaining]
  }
  expect(await post('q-1', 600)).toEqual([202, 'accepted', '400'])
  expect(await post('q-2', 401)).toEqual([429, 'quota_exceeded', '400'])
  await product.crash()
  await restart()
  expect(await post('q-1', 600)).toEqual([202, 'accepted', '400'])
  expect(await post('q-2', 401)).toEqual([429, 'quota_exceeded', '400'])
  expect(await post('q-3', 400)).toEqual([202, 'accepted', '0'])
  expect(await post('q-4', 1)).toEqual([429, 'quota_exceeded', '0'])
  expect(await usageBecomes('capped', '1000')).toBe('1000')
})

const pidFile = () => join(folder, 'postgres/postmaster.pid')

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s stops in order, with exit code 0, and leaves no Postgres',
  async (signal) => {
    const port = Number(readFileSync(pidFile(), 'utf8').split('\n')[3])
    expect(await postgresOf(port)).toEqual({ pidFile: true, listens: true })
    expect(await product.stop(signal)).toEqual({ code: 0, signal: null })
    expect(product.stdout()).toMatch(/Stopping \(SIG\w+\)…\nStopped\.\n$/)
    expect(product.stderr()).toBe('')
    expect(await postgresOf(port)).toEqual({ pidFile: false, listens: false })
    await restart()
    expect(await usageBecomes('acme', '333')).toBe('333')
  },
)

/** Whether a Postgres holds the folder, and something listens on its port. A zombie that nobody reaped does neither. */
async function postgresOf(port: number): Promise<{ pidFile: boolean; listens: boolean }> {
  const socket = connect(port, '127.0.0.1')
  const listens = await new Promise<boolean>((answer) => {
    socket.once('connect', () => answer(true))
    socket.once('error', () => answer(false))
  })
  socket.destroy()
  return { pidFile: existsSync(pidFile()), listens }
}
