import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { openReceiver, type Receiver } from '../ingest/webhooks/receiver.ts'
import { EVENT_TYPE, METERS, setUpMeters } from '../integrity/catalog.ts'
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
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 })

/** Issues 6 and 7 on the embedded stores: what a period costs so far, and who is told when that is much. */
const ENV = { WEBHOOK_ALLOW_PRIVATE: 'true' }
const LOOK_FOR_MS = 120_000
const HOUR_MS = 3_600_000
const nowMs = Math.floor(Date.now() / 60_000) * 60_000
const folder = newDataFolder()
let product: Product
let key: string
let receiver: Receiver

const api = (): Api => apiOf(product.url, key)
const iso = (ms: number) => new Date(ms).toISOString()
type Line = { index: number; charge: string; quantity: string | null; events: number | null; amount: string }
type Bill = {
  lines: Line[]
  period_start: string
  period_end: string
  total: string
  number?: string
  provisional?: true
}

beforeAll(async () => {
  receiver = await openReceiver()
  const started = await startProduct(folder, undefined, ENV)
  product = started
  key = started.key
  await setUpMeters(api())
  await api().call('PUT', '/webhooks/spend', { url: receiver.url, topics: ['spend.threshold_reached'] })
  const context = { key: 'context', name: 'Context', meter: METERS.context }
  await api().call('POST', '/plans', {
    ...{ key: 'llm', name: 'LLM', currency: 'USD', interval: 'month', alignment: 'anniversary', grace_seconds: 0 },
    fees: 'in_arrears',
    charges: [
      { key: 'base', name: 'Base fee', price: { model: 'flat', amount: '20.00' } },
      { ...context, price: { model: 'per_unit', unit_amount: '0.000003' } },
    ],
  })
})
afterAll(async () => {
  await product.stop()
  await receiver.close()
  await removeDataFolder(folder)
})

async function subscribe(name: string, startMs: number, endMs: number | null): Promise<void> {
  await api().call('POST', '/customers', { external_key: name, currency: 'USD', subjects: [name] })
  const terms = { start: iso(startMs), end: endMs === null ? null : iso(endMs) }
  await api().call('POST', '/subscriptions', { external_key: name, customer: name, plan: 'llm', ...terms })
}
const use = (subject: string, id: string, tokens: number, atMs: number) =>
  api().call('POST', '/events', {
    ...{ id, source: 'e2e', type: EVENT_TYPE, subject, time: iso(atMs) },
    data: { [METERS.context]: tokens, [METERS.generated]: 0 },
  })
const levels = () => receiver.events().map(({ data }) => `${data.level} of ${data.budget}: ${data.spent}`)
const until = (count: number) =>
  eventually(
    async () => levels(),
    (seen) => seen.length >= count,
    LOOK_FOR_MS,
  )
const preview = (name: string, query = '') => api().call<Bill>('GET', `/subscriptions/${name}/preview${query}`)
const budget = (amount: string) =>
  api().call('PUT', '/subscriptions/running/budget', { amount, thresholds: ['50%', '80%', '100%'] })
/** Waits until the preview says so; set again, a budget is looked at in seconds, not within a minute. */
async function spent(total: string): Promise<void> {
  const seen = await eventually(
    () => preview('running'),
    (bill) => bill.total === total,
    LOOK_FOR_MS,
  )
  expect(seen).toMatchObject({ total, provisional: true })
  await budget('30.00')
}

test('levels of a budget are told by webhook as spend reaches them, once, also when the product is killed between', async () => {
  await subscribe('running', nowMs - 24 * HOUR_MS, null)
  await budget('30.00')
  expect(await until(1)).toEqual(['50% of 30.00: 20.00'])
  // 24.00 are spent; whoever would tell of it is killed.
  await use('running', 'one', 1_333_333, nowMs - HOUR_MS)
  await product.crash()
  product = await readyProduct(launchStart(folder, undefined, ENV))
  await spent('24.00')
  expect(await until(2)).toEqual(['50% of 30.00: 20.00', '80% of 30.00: 24.00'])
  await use('running', 'two', 3_000_000, nowMs - HOUR_MS)
  await use('running', 'two', 3_000_000, nowMs - HOUR_MS)
  await spent('33.00')
  expect(await until(3)).toEqual(['50% of 30.00: 20.00', '80% of 30.00: 24.00', '100% of 30.00: 33.00'])
  const { alerts } = await api().call<{ alerts: { id: string; level: string }[] }>('GET', '/spend-alerts')
  expect(alerts.map(({ level }) => level)).toEqual(['100%', '80%', '50%'])
  expect(new Set(receiver.events().map(({ id }) => id))).toEqual(new Set(alerts.map(({ id }) => id)))
})

test('levels of prepaid credit are told by webhook, of what is spent before it has an invoice', async () => {
  const credit = await openReceiver()
  const seen = (count: number) =>
    eventually(
      async () =>
        credit.events().map(({ data }) => `${data.customer} ${data.level}: ${data.available} of ${data.base}`),
      (texts) => texts.length >= count,
      LOOK_FOR_MS,
    )
  try {
    await api().call('PUT', '/webhooks/credit', { url: credit.url, topics: ['credit.threshold_reached'] })
    await subscribe('prepaid', nowMs - 24 * HOUR_MS, null)
    await api().call('POST', '/customers/prepaid/credits', { external_key: 'wallet', amount: '25.00' })
    expect((await seen(2)).sort()).toEqual(['prepaid 50%: 5.00 of 25.00', 'prepaid 80%: 5.00 of 25.00'])
    await use('prepaid', 'six', 2_000_000, nowMs - HOUR_MS)
    await eventually(
      () => preview('prepaid'),
      ({ total }) => total === '26.00',
      LOOK_FOR_MS,
    )
    // Set again, they are looked at in seconds, not within a minute.
    const levels = { used: ['50%', '100%'], remaining: [] }
    await api().call('PUT', '/customers/prepaid/credit-thresholds', levels)
    expect((await seen(3)).slice(2)).toEqual(['prepaid 100%: -1.00 of 25.00'])
    const { alerts } = await api().call<{ alerts: { id: string; level: string }[] }>('GET', '/credit-alerts')
    expect(alerts.map(({ level }) => level)).toEqual(['100%', '80%', '50%'])
    expect(new Set(credit.events().map(({ id }) => id))).toEqual(new Set(alerts.map(({ id }) => id)))
  } finally {
    await credit.close()
  }
})

test('the preview of a period that is over is the invoice that the run then makes, line by line, and is verified', async () => {
  const [startMs, endMs] = [nowMs - 72 * HOUR_MS, nowMs - 2 * HOUR_MS]
  await subscribe('over', startMs, endMs)
  await use('over', 'three', 2_182_292, startMs)
  await use('over', 'four', 7, endMs - 1)
  await use('over', 'five', 1_000_000, endMs)
  const asked = () => preview('over', `?at=${iso(startMs)}`)
  const seen = await eventually(asked, ({ lines }) => lines[1]?.quantity === '2182299', LOOK_FOR_MS)
  expect(seen.lines.map(({ quantity, events }) => [quantity, events])).toEqual([
    [null, null],
    ['2182299', 2],
  ])
  await api().call('POST', '/billing-runs', {})
  const { invoices } = await eventually(
    () => api().call<{ invoices: Bill[] }>('GET', '/invoices?subscription=over'),
    (answer) => answer.invoices.length === 1,
    LOOK_FOR_MS,
  )
  const withoutSeal = (bill: Bill | undefined) => ({
    ...{ start: bill?.period_start, end: bill?.period_end, total: bill?.total },
    lines: bill?.lines.map((line) => ({ ...line, seal_id: null, digest: null })),
  })
  expect(withoutSeal(invoices[0])).toEqual(withoutSeal(seen))
  const verify = launch([COMMAND, 'verify', invoices[0]?.number ?? ''], {
    TALLYLINE_URL: product.url,
    TALLYLINE_KEY: key,
  })
  expect(await verify.exited).toMatchObject({ code: 0 })
  expect(verify.stdout()).toBe(`${invoices[0]?.number}: equal (2 lines, 2 events, 1 seals)\n`)
  expect(await api().send('GET', `/subscriptions/over/preview?at=${iso(startMs)}`)).toMatchObject({ status: 409 })
})
