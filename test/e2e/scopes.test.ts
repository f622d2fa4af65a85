import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { SCOPED_PERMISSIONS } from '../../schemas/http/permissions.ts'
import { openTenant } from '../integrity/catalog.ts'
import { type Api, apiOf } from '../support/api.ts'
import { eventually, newDataFolder, type Product, removeDataFolder, startProduct } from '../support/product.ts'

/**
 * HC-8, with real keys through the real doors: finance sees all, an organization's admin that organization, a user the
 * own usage. Acme has the users a-1 and a-2, Globex has g-1; everything of Globex gives itself away by its name.
 */
// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 })

const FOREIGN = /globex|g-1|777/
const SPAN = 'from=2026-01-01T00:00:00Z&to=2090-01-01T00:00:00Z'
const folder = newDataFolder()
let product: Product & { key: string }
let finance: Api
let organization: string
let user: string
let globexId: string

const make = async (scope: object, permissions: readonly string[] = SCOPED_PERMISSIONS) =>
  apiOf(product.url, product.key).send<{ key: string }>('POST', '/tenants/shop/keys', { permissions, scope })

beforeAll(async () => {
  product = await startProduct(folder)
  finance = apiOf(product.url, await openTenant(apiOf(product.url, product.key), 'shop'))
  const fields = [
    { name: 'tokens', type: 'long' },
    { name: 'model', type: 'string' },
  ]
  await finance.call('PUT', '/event-types/llm', { schema: { type: 'record', name: 'Llm', fields } })
  const meter = { event_type: 'llm', aggregation: 'sum', value: 'tokens' }
  await finance.call('PUT', '/meters/tokens', { ...meter, group_by: ['model'] })
  for (const [external_key, subjects] of [
    ['acme', ['a-1', 'a-2']],
    ['globex', ['g-1']],
  ] as const) {
    const { id } = await finance.call<{ id: string }>('POST', '/customers', { external_key, currency: 'USD', subjects })
    globexId = id
  }
  const sum = {
    slug: 'om',
    eventType: 'llm',
    aggregation: 'SUM',
    valueProperty: '$.tokens',
    groupBy: { model: '$.model' },
  }
  await openmeter(finance.send, 'POST', '/meters', sum)
  const usage = [
    ['a-1', 1],
    ['a-2', 20],
    ['g-1', 777],
  ] as const
  const events = usage.map(([subject, tokens]) => {
    return { id: `of-${subject}`, source: 'e2e', type: 'llm', subject, data: { tokens, model: `of-${subject}` } }
  })
  await finance.call('POST', '/events', events)
  // The one that contradicts the first: the first counts, and only finance may read of it.
  await finance.call('POST', '/events', { ...events[2], data: { tokens: 7771, model: 'of-g-1' } })
  organization = (await make({ customer: 'acme' })).body.key
  user = (await make({ subjects: ['a-1'] })).body.key
  const total = () => finance.call<{ total: { quantity: string } }>('GET', `/usage?meter=tokens&${SPAN}`)
  expect((await eventually(total, (seen) => seen.total.quantity === '798')).total.quantity).toBe('798')
})
afterAll(async () => {
  await product.stop()
  await removeDataFolder(folder)
})

async function openmeter(send: Api['send'], method: 'GET' | 'POST', path: string, body?: object) {
  return send(method, `//openmeter/api/v1${path}`, body)
}
const totalOf = async (key: string, query = '') =>
  (await apiOf(product.url, key).call<{ total: { quantity: string } }>('GET', `/usage?meter=tokens&${SPAN}${query}`))
    .total.quantity

/** Method and path as one looks, `{names}` and all, and whether it says that it knows of scopes. */
async function routes(): Promise<{ method: string; path: string; scoped: boolean; open: boolean }[]> {
  type Operation = { 'x-permission': string; 'x-scoped'?: true }
  const response = await fetch(`${product.url}/openapi.json`)
  const { paths } = (await response.json()) as { paths: Record<string, Record<string, Operation>> }
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      ...{ method: method.toUpperCase(), path },
      ...{ scoped: operation['x-scoped'] === true, open: operation['x-permission'] === 'public' },
    })),
  )
}

describe('every route of the product', () => {
  test('refuses a key with a scope, unless it says that it knows of scopes: with one and the same answer', async () => {
    const all = (await routes()).filter(({ open }) => !open)
    expect(all.length).toBeGreaterThan(40)
    for (const { method, path, scoped } of all) {
      for (const key of [organization, user]) {
        const url = `${product.url}${path.replace('{slug}', 'tokens').replaceAll(/\{\w+\}/g, 'globex')}`
        const response = await fetch(url, { method, headers: { authorization: `Bearer ${key}` } })
        const { code } = (await response.json()) as { code?: string }
        const refused = response.status === 403 && code === 'out_of_scope'
        expect(`${method} ${path} ${refused ? 'refuses' : response.status < 401 || response.status === 404}`).toBe(
          `${method} ${path} ${scoped ? true : 'refuses'}`,
        )
      }
    }
  })

  test('that knows of scopes is one of these; whoever adds one adds it to the tests below', async () => {
    expect(
      (await routes())
        .filter(({ scoped }) => scoped)
        .map(({ method, path }) => `${method} ${path}`)
        .sort(),
    ).toEqual([
      'GET /api/v1/billing/quota/{user_id}',
      'GET /api/v1/events',
      'GET /api/v1/meters',
      'GET /api/v1/meters/{slug}',
      'GET /api/v1/quota-alerts',
      'GET /api/v1/quota/{subject}',
      'GET /api/v1/usage',
      'GET /openmeter/api/v1/events',
      'GET /openmeter/api/v1/meters',
      'GET /openmeter/api/v1/meters/{idOrSlug}',
      'GET /openmeter/api/v1/meters/{idOrSlug}/query',
      'POST /api/v1/quota/check',
      'POST /api/v1/quota/leases',
      'POST /api/v1/quota/leases/{lease_id}/return',
      'POST /api/v1/quota/release',
      'POST /api/v1/quota/reserve',
      'POST /openmeter/api/v1/meters/{idOrSlug}/query',
    ])
  })
})

test('finance sees all, an organization’s admin that organization, a user the own', async () => {
  expect([await totalOf(organization), await totalOf(user)]).toEqual(['21', '1'])
  expect([await totalOf(organization, '&customer=acme'), await totalOf(organization, '&subject=a-2')]).toEqual([
    '21',
    '20',
  ])
  expect(await totalOf(user, '&subject=a-2&subject=g-1&subject=a-1')).toBe('1')
})

test('no parameter of any route crosses over', async () => {
  const values = ['g-1', 'globex']
  const names = ['subject', 'customer', 'group_by', 'groupBy', 'id', 'source', 'scope', 'tenant']
  const asked = [
    `/api/v1/usage?meter=tokens&group_by=subject,model&${SPAN}`,
    `/api/v1/usage?meter=tokens&window=month&format=csv&${SPAN}`,
    '/api/v1/events?source=e2e&id=of-g-1',
    '/openmeter/api/v1/events?from=2026-01-01T00:00:00Z',
    '/openmeter/api/v1/meters/om/query?groupBy=subject&groupBy=model',
    '/openmeter/api/v1/meters/om/query?windowSize=DAY&groupBy=model',
  ]
  let answered = 0
  for (const key of [organization, user]) {
    const headers = { authorization: `Bearer ${key}` }
    for (const url of asked) {
      for (const name of names) {
        for (const value of values) {
          const query = new URLSearchParams(url.slice(url.indexOf('?')))
          query.append(name, value)
          const path = url.slice(0, url.indexOf('?'))
          const response = await fetch(`${product.url}${path}?${query}`, { headers })
          // A problem may quote what was asked for; nothing else stands in it.
          const text = (await response.text()).replaceAll(value, '')
          expect(response.status).toBeLessThan(500)
          expect(text).not.toMatch(FOREIGN)
          if (response.status === 200) answered++
        }
      }
      if (url.includes('of-g-1')) continue
      const plain = await fetch(`${product.url}${url}`, { headers })
      expect(plain.status).toBe(200)
      expect(await plain.text()).not.toMatch(FOREIGN)
    }
    for (const subject of [['g-1'], ['g-1', 'a-1'], undefined]) {
      const body = { groupBy: ['subject', 'model'], ...(subject ? { subject } : {}) }
      const answer = await openmeter(apiOf(product.url, key).send, 'POST', '/meters/om/query', body)
      expect(answer.status).toBe(200)
      expect(JSON.stringify(answer.body)).not.toMatch(FOREIGN)
    }
  }
  expect(answered).toBeGreaterThan(20)
})

test('a foreign subject, customer or event is answered like one that does not exist', async () => {
  const pairs = [
    [`/usage?meter=tokens&${SPAN}&subject=`, 'g-1'],
    [`/usage?meter=tokens&${SPAN}&window=month&group_by=subject&subject=`, 'g-1'],
    [`/usage?meter=tokens&${SPAN}&customer=`, 'globex'],
    [`/usage?meter=tokens&${SPAN}&customer=`, globexId],
    ['/events?source=e2e&id=', 'of-g-1'],
    ['/billing/quota/', 'g-1'],
    ['/quota-alerts?subject=', 'g-1'],
    ['//openmeter/api/v1/events?from=2026-01-01T00:00:00Z&subject=', 'g-1'],
    ['//openmeter/api/v1/events?from=2026-01-01T00:00:00Z&id=', 'of-g-1'],
    ['//openmeter/api/v1/meters/om/query?subject=', 'g-1'],
    ['//openmeter/api/v1/meters/om/query?windowSize=DAY&subject=', 'g-1'],
  ] as const
  for (const key of [organization, user]) {
    for (const [path, foreign] of pairs) {
      const { send } = apiOf(product.url, key)
      const [seen, unknown] = [await send('GET', `${path}${foreign}`), await send('GET', `${path}not-there`)]
      const withoutNames = (answer: object, name: string) => JSON.stringify(answer).replaceAll(name, '…')
      expect(withoutNames(seen, foreign)).toBe(withoutNames(unknown, 'not-there'))
    }
  }
  // A user of Acme does not learn of Acme either, which is more than its own usage.
  expect(await apiOf(product.url, user).send('GET', `/usage?meter=tokens&${SPAN}&customer=acme`)).toMatchObject({
    status: 404,
  })
})
