import { PERMISSIONS } from '../../schemas/http/permissions.ts'
import { type Api, apiOf } from '../support/api.ts'

export const EVENT_TYPE = 'llm.request'
export const METERS = { context: 'context_tokens', generated: 'generated_tokens' } as const
export const SUBJECTS = Array.from({ length: 10 }, (_, index) => `customer-${index}`)
/** The month that is billed; the month before and after it have usage too, which is nobody's business here. */
export const MONTH = { startMs: Date.UTC(2024, 1, 1), endMs: Date.UTC(2024, 2, 1) }

const TENANT_PERMISSIONS = PERMISSIONS.filter(
  (permission) => permission !== 'billing:tenants:create' && permission !== 'billing:keys:create',
)

/** A tenant with event type and meters; answers its key. */
export async function openTenant(operator: Api, slug: string): Promise<string> {
  await operator.call('PUT', `/tenants/${slug}`, {})
  const { key } = await operator.call<{ key: string }>('POST', `/tenants/${slug}/keys`, {
    permissions: TENANT_PERMISSIONS,
  })
  return key
}

export async function setUpMeters(tenant: Api): Promise<void> {
  const fields = Object.values(METERS).map((name) => ({ name, type: 'long' }))
  await tenant.call('PUT', `/event-types/${EVENT_TYPE}`, { schema: { type: 'record', name: 'LlmRequest', fields } })
  for (const meter of Object.values(METERS)) {
    await tenant.call('PUT', `/meters/${meter}`, { event_type: EVENT_TYPE, aggregation: 'sum', value: `$.${meter}` })
  }
}

/** Ten customers with a subscription to the month, on the plan that bill.ts knows. */
export async function setUpCustomers(tenant: Api): Promise<void> {
  await tenant.call('POST', '/plans', {
    key: 'llm',
    name: 'LLM',
    currency: 'USD',
    interval: 'month',
    alignment: 'calendar',
    grace_seconds: 0,
    fees: 'in_arrears',
    charges: [
      { key: 'base', name: 'Base fee', price: { model: 'flat', amount: '20.00' } },
      {
        key: 'context',
        name: 'Context tokens',
        meter: METERS.context,
        price: { model: 'per_unit', unit_amount: '0.000003' },
      },
      {
        key: 'generated',
        name: 'Generated tokens',
        meter: METERS.generated,
        price: {
          model: 'graduated',
          tiers: [
            { up_to: '100000', unit_amount: '0.000015' },
            { up_to: null, unit_amount: '0.000012' },
          ],
        },
      },
    ],
  })
  const [start, end] = [MONTH.startMs, MONTH.endMs].map((ms) => new Date(ms).toISOString())
  for (const subject of SUBJECTS) {
    await tenant.call('POST', '/customers', { external_key: subject, currency: 'USD', subjects: [subject] })
    await tenant.call('POST', '/subscriptions', { external_key: subject, customer: subject, plan: 'llm', start, end })
  }
}

/** A tenant that is ready to be billed. */
export async function openBilledTenant(url: string, operatorKey: string, slug: string): Promise<string> {
  const key = await openTenant(apiOf(url, operatorKey), slug)
  await setUpMeters(apiOf(url, key))
  await setUpCustomers(apiOf(url, key))
  return key
}
