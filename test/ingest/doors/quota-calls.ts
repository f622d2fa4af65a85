import { type Answer, cloudEvent, type Json, LLM_SCHEMA, type Metering, type Tenant } from '../../support/metering.ts'

export const NOVEMBER = { starts_at: '2026-11-01T00:00:00.000Z', resets_at: '2026-12-01T00:00:00.000Z' }
/** Of limits that were set for a subject itself. */
export const OWN = { granted_by: 'subject', shared_by: 'subject', enforcement: 'hard' }
export const outcomes = ({ body }: Answer) => body.outcomes as Json[]

/** A tenant whose events of the type llm.request have tokens, which the meters `tokens` and `requests` count. */
export async function openQuotaTenant(metering: Metering, slug: string): Promise<Tenant> {
  const tenant = await metering.tenant(slug)
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
  await tenant.call('PUT', '/meters/tokens', { event_type: 'llm.request', aggregation: 'sum', value: 'tokens' })
  await tenant.call('PUT', '/meters/requests', { event_type: 'llm.request', aggregation: 'count' })
  return tenant
}

/** What tests ask of the doors of quotas, mostly for customer-1 and the meter `tokens`. */
export function quotaCalls(tenant: () => Tenant) {
  const post = (path: string, body: object, key?: string, by = tenant()) =>
    by.call('POST', `/quota/${path}`, body, key === undefined ? {} : { 'idempotency-key': key })
  const check = (quantity?: string, change = {}) =>
    post('check', { checks: [{ subject: 'customer-1', meter: 'tokens', quantity, ...change }] })
  return {
    post,
    check,
    limit: (quantity: string, meter = 'tokens', window = 'month', subject = 'customer-1') =>
      tenant().call('PUT', `/quota/${subject}/${meter}`, { limit: quantity, window }),
    reserve: (key: string, quantity: string, change = {}) =>
      post('reserve', { subject: 'customer-1', meter: 'tokens', quantity, ...change }, key),
    lease: (key: string, quantity: string, change = {}) =>
      post('leases', { subject: 'customer-1', meter: 'tokens', quantity, ...change }, key),
    consume: (key: string, tokens: number, change = {}) =>
      post('consume', { subject: 'customer-1', type: 'llm.request', data: { tokens }, ...change }, key),
    settle: (hold: unknown, id: string, tokens: number, change = {}) =>
      post('settle', { hold_id: hold, event: cloudEvent(id, { tokens }, change) }),
    use: (id: string, tokens: number, change = {}) => tenant().send(JSON.stringify(cloudEvent(id, { tokens }, change))),
    remaining: async () => {
      const [result] = (await check()).body.results as { quota_remaining: string }[]
      return result?.quota_remaining
    },
  }
}
