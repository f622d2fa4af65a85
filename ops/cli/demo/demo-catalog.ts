import { Type } from 'typebox'
import type { DemoClient } from './demo-client.ts'
import type { TraceRow } from './trace-csv.ts'

/** What the demo sets up before the first event. All of it may exist already: the same content changes nothing. */
export const EVENT_TYPE = 'llm.request'
export const CONTEXT_METER = 'context_tokens'
export const GENERATED_METER = 'generated_tokens'
export const CUSTOMERS = Array.from({ length: 10 }, (_, index) => `customer-${index}`)

/** No more than the demo does: the key lives on after it. */
const TENANT_KEY_PERMISSIONS = [
  'billing:usage:create',
  'billing:usage:backfill',
  'billing:event-types:create',
  'billing:meters:create',
  'billing:customers:create',
  'billing:plans:create',
  'billing:subscriptions:create',
  'billing:runs:create',
  'billing:runs:read',
  'billing:invoices:read',
]

const EVENT_SCHEMA = {
  type: 'record',
  name: 'LlmRequest',
  fields: [
    { name: 'context_tokens', type: 'long' },
    { name: 'generated_tokens', type: 'long' },
  ],
}

const PLAN = {
  key: 'llm-demo',
  name: 'LLM demo',
  currency: 'USD',
  interval: 'month',
  alignment: 'calendar',
  grace_seconds: 3600,
  // Its invoices show a month: its usage and its fee.
  fees: 'in_arrears',
  charges: [
    { key: 'base', name: 'Base fee', price: { model: 'flat', amount: '20.00' } },
    {
      key: 'context',
      name: 'Context tokens',
      meter: CONTEXT_METER,
      price: { model: 'per_unit', unit_amount: '0.000003' },
    },
    {
      key: 'generated',
      name: 'Generated tokens',
      meter: GENERATED_METER,
      price: {
        model: 'graduated',
        tiers: [
          { up_to: '100000', unit_amount: '0.000015' },
          { up_to: null, unit_amount: '0.000012' },
        ],
      },
    },
  ],
}

/** Whole calendar months in UTC, as the instants that the API takes. */
export type Contract = { start: string; end: string; months: number; billableFromMs: number }

/** From the first row's month to the last row's: nothing is prorated and only periods with data are due. */
export function contractOf(rows: readonly TraceRow[]): Contract {
  const span = rows.reduce(
    ({ firstMs, lastMs }, { timeMs }) => ({ firstMs: Math.min(firstMs, timeMs), lastMs: Math.max(lastMs, timeMs) }),
    { firstMs: Number.POSITIVE_INFINITY, lastMs: Number.NEGATIVE_INFINITY },
  )
  const start = monthStart(span.firstMs)
  const end = monthStart(span.lastMs)
  end.setUTCMonth(end.getUTCMonth() + 1)
  const years = end.getUTCFullYear() - start.getUTCFullYear()
  return {
    start: start.toISOString(),
    end: end.toISOString(),
    months: years * 12 + end.getUTCMonth() - start.getUTCMonth(),
    billableFromMs: end.getTime() + PLAN.grace_seconds * 1000,
  }
}

/** A tenant of its own for this input and a key of that tenant. */
export async function openTenant(operator: DemoClient, tenantSlug: string): Promise<string> {
  await operator.call({ method: 'PUT', path: `/tenants/${tenantSlug}`, body: {} }, Type.Unknown())
  const answer = await operator.call(
    { method: 'POST', path: `/tenants/${tenantSlug}/keys`, body: { permissions: TENANT_KEY_PERMISSIONS } },
    Type.Object({ key: Type.String() }),
  )
  return answer.key
}

export async function setUpCatalog(tenant: DemoClient, contract: Contract): Promise<void> {
  const send = (method: 'PUT' | 'POST', path: string, body: unknown) =>
    tenant.call({ method, path, body }, Type.Unknown())
  await send('PUT', `/event-types/${EVENT_TYPE}`, { schema: EVENT_SCHEMA })
  for (const meter of [CONTEXT_METER, GENERATED_METER]) {
    await send('PUT', `/meters/${meter}`, { event_type: EVENT_TYPE, aggregation: 'sum', value: `$.${meter}` })
  }
  await send('POST', '/plans', PLAN)
  for (const customer of CUSTOMERS) {
    await send('POST', '/customers', {
      external_key: customer,
      currency: 'USD',
      timezone: 'UTC',
      subjects: [customer],
    })
    await send('POST', '/subscriptions', {
      external_key: `${PLAN.key}-${customer}`,
      customer,
      plan: PLAN.key,
      start: contract.start,
      end: contract.end,
    })
  }
}

function monthStart(timeMs: number): Date {
  return new Date(`${new Date(timeMs).toISOString().slice(0, 7)}-01T00:00:00.000Z`)
}
