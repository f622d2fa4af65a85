import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { openTenant } from '../../integrity/catalog.ts'
import { apiOf } from '../../support/api.ts'
import { METERING_NOW, type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { newDataFolder, type Product, removeDataFolder, startProduct } from '../../support/product.ts'
import { type MailServer, openMailServer } from '../webhooks/mail-server.ts'
import { openQuotaTenant, quotaCalls } from './quota-calls.ts'

/** Issue 6: thresholds as mail, at the doors and through the whole product on its embedded stores. */
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })
const PATIENCE = { timeout: 60_000, interval: 20 }
const TOPICS = ['quota.threshold_reached']
const FINANCE = { url: 'mailto:finance@example.com', topics: TOPICS }

describe('at the doors', () => {
  let mails: MailServer
  let metering: Metering
  let tenant: Tenant
  let made = 0
  const { limit, use } = quotaCalls(() => tenant)
  const put = (url: string) => tenant.call('PUT', '/webhooks/finance', { url, topics: TOPICS })

  beforeAll(async () => {
    mails = await openMailServer()
    metering = await openMetering(undefined, { mail: mails.settings })
  })
  afterAll(async () => {
    await metering?.close()
    await mails?.close()
  })
  beforeEach(async () => {
    metering.clock.nowMs = METERING_NOW
    tenant = await openQuotaTenant(metering, `t-${made++}`)
  })
  afterEach(() => {
    mails.received.splice(0)
  })

  test('80 % of a limit arrives as a mail, with the facts of the alert that is listed', async () => {
    expect(await put('mailto:finance@example.com,cfo@example.com')).toMatchObject({ status: 201 })
    await limit('1000')
    await use('a', 400)
    await use('b', 401)
    await expect.poll(() => mails.received.length, PATIENCE).toBe(2)
    const subjects = mails.received.map(({ headers }) => headers.get('subject'))
    expect(subjects.toSorted()).toEqual(
      ['50%', '80%'].map((level) => `[t-${made - 1}] tokens: customer-1 has reached ${level} (801 of 1000 used)`),
    )
    const told = mails.received.find(({ text }) => text.includes('Level: 80%'))
    const alerts = (await tenant.call('GET', '/quota-alerts')).body.alerts as Record<string, string>[]
    const alert = alerts.find(({ level }) => level === '80%')
    expect(told?.text).toContain(`\nId: ${alert?.id}\n`)
    expect(told?.text).toContain('\nResets at: 2026-12-01T00:00:00.000Z\n')
    expect(told?.to).toEqual(['finance@example.com', 'cfo@example.com'])
    const delivered = { state: 'delivered', attempts: 1, taken_by: ['finance@example.com', 'cfo@example.com'] }
    const deliveries = async () => (await tenant.call('GET', '/webhooks/finance/deliveries')).body.deliveries
    await expect.poll(deliveries, PATIENCE).toMatchObject([delivered, delivered])
  })

  test('POST …/test mails at once', async () => {
    await put(FINANCE.url)
    const { body } = await tenant.call('POST', '/webhooks/finance/test')
    await expect.poll(() => mails.received.length, PATIENCE).toBe(1)
    expect(mails.received[0]?.headers.get('message-id')).toMatch(new RegExp(`^<${body.event_id}\\.`))
  })

  test.each([
    ['with a header field', 'mailto:a@example.com?cc=b@example.com', 'must have addresses only'],
    ['with a line end', 'mailto:a@example.com%0D%0ABcc:b@example.com', 'must be addresses such as'],
    ['of eleven', `mailto:${Array.from({ length: 11 }, (_, n) => `a${n}@example.com`)}`, 'at most 10 addresses'],
  ])('a mailto URL %s is 400', async (_what, url, message) => {
    expect(await put(url)).toMatchObject({
      status: 400,
      body: { code: 'invalid_request', errors: [{ path: 'url', message: expect.stringContaining(message) }] },
    })
  })
})

describe('in the product', () => {
  let mails: MailServer
  let folder: string
  let product: Product
  beforeAll(async () => {
    mails = await openMailServer()
    folder = newDataFolder()
  })
  afterAll(async () => {
    await product?.stop()
    await removeDataFolder(folder)
    await mails?.close()
  })

  test('SMTP_URL and MAIL_FROM have an alert mailed', async () => {
    const mail = { SMTP_URL: `smtp://127.0.0.1:${mails.port}`, MAIL_FROM: 'alerts@operator.example' }
    const started = await startProduct(folder, undefined, mail)
    product = started
    const api = apiOf(product.url, await openTenant(apiOf(product.url, started.key), 'told'))
    await api.call('PUT', '/event-types/work', {
      schema: { type: 'record', name: 'Work', fields: [{ name: 'size', type: 'long' }] },
    })
    await api.call('PUT', '/meters/size', { event_type: 'work', aggregation: 'sum', value: 'size' })
    await api.call('PUT', '/webhooks/finance', FINANCE)
    const limit = { type: 'metered', meter: 'size', limit: '100', window: 'month', per: 'subject', thresholds: ['80%'] }
    await api.call('PUT', '/entitlements/subject/s/storage', limit)
    await api.send('POST', '/events', { id: 'a', source: 'told', type: 'work', subject: 's', data: { size: 85 } })
    await expect.poll(() => mails.received.length, PATIENCE).toBe(1)
    expect(mails.received[0]).toMatchObject({ from: 'alerts@operator.example', to: ['finance@example.com'] })
    expect(mails.received[0]?.headers.get('subject')).toBe('[told] storage: s has reached 80% (85 of 100 used)')
    expect(mails.received[0]?.text).toContain('or write to alerts@operator.example.')
  })
})
