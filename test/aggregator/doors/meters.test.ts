import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { cloudEvent, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`t-${made++}`)
})

const TOKENS = { event_type: 'llm.request', aggregation: 'sum', value: '$.tokens' }

async function remove(slug: string) {
  const authorization = `Bearer t-${made - 1}`
  return metering.app.inject({ method: 'DELETE', url: `/api/v1/meters/${slug}`, headers: { authorization } })
}

describe('the doors of meters', () => {
  test('a meter says what it is, and nothing that would say nothing', async () => {
    const plain = {
      ...{ slug: 'tokens', event_type: 'llm.request', aggregation: 'sum', group_by: [], revision: 1 },
      value: 'tokens',
    }
    const text = JSON.stringify(plain)
    expect(JSON.stringify((await tenant.call('PUT', '/meters/tokens', TOKENS)).body)).toBe(text)
    expect(JSON.stringify((await tenant.call('GET', '/meters/tokens')).body)).toBe(text)
    const filter = { and: [{ equals: { path: 'model', value: 'large' } }, { not: { exists: { path: 'free' } } }] }
    const rich = {
      ...{ event_type: 'llm.request', aggregation: 'percentile', percentile: '99.9', filter },
      ...{ value: '(tokens + 1) / 2', group_by: ['model'] },
    }
    const stored = { slug: 'rich', ...rich, revision: 2 }
    expect((await tenant.call('PUT', '/meters/rich', rich)).body).toEqual(stored)
    const hourly = { ...TOKENS, aggregation: 'max', window: 'hour' }
    expect((await tenant.call('PUT', '/meters/peak', hourly)).body).toMatchObject({
      aggregation: 'max',
      window: 'hour',
    })
    const { body } = await tenant.call('GET', '/meters')
    expect(body.meters).toEqual([expect.objectContaining({ slug: 'peak' }), stored, plain])
  })

  test('versions are listed once there are several; progress while earlier events are computed', async () => {
    await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
    await tenant.send(JSON.stringify([cloudEvent('1')]))
    await metering.settled()
    await tenant.call('PUT', '/meters/tokens', TOKENS)
    expect((await tenant.call('GET', '/meters/tokens')).body).toMatchObject({
      ...{ progress: { shards: 1, built: 0 }, exact: true },
    })
    const second = { ...TOKENS, value: 'tokens / 1000', effective_from: '2026-12-01T02:00:59+02:00' }
    const version = { version: 2, effective_from: '2026-12-01T00:00:00.000Z' }
    expect((await tenant.call('PUT', '/meters/tokens', second)).body).toMatchObject({
      value: 'tokens / 1000',
      ...version,
    })
    expect((await tenant.call('GET', '/meters/tokens')).body.versions).toEqual([
      { version: 1, effective_from: '1970-01-01T00:00:00.000Z', event_type: 'llm.request', value: 'tokens' },
      { ...version, event_type: 'llm.request', value: 'tokens / 1000' },
    ])
    const other = await tenant.call('PUT', '/meters/tokens', { ...TOKENS, value: 'cost' })
    expect(other).toMatchObject({ status: 409, body: { detail: expect.stringContaining('effective_from') } })
  })

  test.each([
    ['value', { value: 'tokens *' }, 'position 9'],
    ['filter.or.0.compare.op', { filter: { or: [{ compare: { path: 'a', op: '=', value: '1' } }] } }, 'lt, lte'],
    ['percentile', { aggregation: 'percentile' }, 'missing'],
    ['window', { aggregation: 'latest', window: 'day' }, 'sum and max'],
    ['effective_from', { effective_from: '2026-12-01' }, 'first version'],
  ])('what is wrong with %s is said', async (path, change, message) => {
    const { status, body } = await tenant.call('PUT', '/meters/m', { ...TOKENS, ...change })
    expect(status).toBe(400)
    expect(body.errors).toEqual([{ path, message: expect.stringContaining(message) }])
  })

  test('an archived meter is not there, and takes no limit, until it is put again', async () => {
    await tenant.call('PUT', '/meters/tokens', TOKENS)
    const limit = { limit: '5', window: 'day' }
    await tenant.call('PUT', '/meters/limited', TOKENS)
    await tenant.call('PUT', '/quota/customer-1/limited', limit)
    expect((await remove('limited')).statusCode).toBe(409)
    expect((await remove('none')).statusCode).toBe(404)
    expect((await remove('tokens')).statusCode).toBe(204)
    expect((await tenant.call('GET', '/meters/tokens')).status).toBe(404)
    expect((await tenant.call('PUT', '/quota/customer-1/tokens', limit)).status).toBe(404)
    expect((await tenant.call('GET', '/meters')).body.meters).toMatchObject([{ slug: 'limited' }])
    const range = 'from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z'
    expect((await tenant.call('GET', `/usage?meter=tokens&${range}`)).status).toBe(404)
    expect((await tenant.call('PUT', '/meters/tokens', TOKENS)).body).toMatchObject({ revision: 1 })
    expect((await tenant.call('GET', `/usage?meter=tokens&${range}`)).status).toBe(200)
  })

  test('only what adds up can be limited; the quota draws what the meter makes of the event', async () => {
    await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
    const large = { equals: { path: 'model', value: 'large' } }
    await tenant.call('PUT', '/meters/half', { ...TOKENS, value: 'tokens / 2', filter: large })
    await tenant.call('PUT', '/meters/peak', { ...TOKENS, aggregation: 'max' })
    const limit = { limit: '10', window: 'day' }
    expect((await tenant.call('PUT', '/quota/customer-1/half', limit)).status).toBe(200)
    expect(await tenant.call('PUT', '/quota/customer-1/peak', limit)).toMatchObject({
      ...{ status: 400, body: { errors: [{ path: 'meter', message: expect.stringContaining('no limit') }] } },
    })
    const events = [cloudEvent('1', { tokens: 3, model: 'large' }), cloudEvent('2', { tokens: 99, model: 'small' })]
    const { body } = await tenant.send(JSON.stringify(events))
    expect(body.outcomes).toMatchObject([{ outcome: 'accepted', quota_remaining: '8.5' }, { outcome: 'accepted' }])
  })
})
