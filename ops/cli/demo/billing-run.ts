import { setTimeout as sleep } from 'node:timers/promises'
import { type Static, Type } from 'typebox'
import type { DemoClient } from './demo-client.ts'
import { forEachInFlight } from './post-trace.ts'

const RUN_LIMIT_MS = 10 * 60_000
const POLL_MS = 150
const PAGE_INVOICES = 100
const REQUESTS_IN_FLIGHT = 4

const BillingRun = Type.Object({
  id: Type.String(),
  state: Type.String(),
  step: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  parked: Type.Optional(Type.Array(Type.Object({ reason: Type.String() }))),
  error: Type.Optional(Type.Union([Type.String(), Type.Null()])),
})
const InvoicePage = Type.Object({
  invoices: Type.Array(Type.Object({ id: Type.String() })),
  next: Type.Union([Type.String(), Type.Null()]),
})
const InvoiceAnswer = Type.Object({
  id: Type.String(),
  number: Type.String(),
  state: Type.String(),
  customer: Type.Object({ external_key: Type.String() }),
  currency: Type.String(),
  period_start: Type.String(),
  period_end: Type.String(),
  lines: Type.Array(
    Type.Object({
      index: Type.Integer(),
      description: Type.String(),
      meter: Type.Union([Type.String(), Type.Null()]),
      quantity: Type.Union([Type.String(), Type.Null()]),
      events: Type.Union([Type.Integer(), Type.Null()]),
      amount: Type.String(),
    }),
  ),
  total: Type.String(),
})
export type InvoiceAnswer = Static<typeof InvoiceAnswer>

/** Runs the invoicer and waits for its end; the run itself waits for the seal. */
export async function runBilling(tenant: DemoClient, signal?: AbortSignal): Promise<void> {
  const startedMs = performance.now()
  let run = await tenant.call({ method: 'POST', path: '/billing-runs', body: {} }, BillingRun)
  while (run.state === 'running') {
    if (performance.now() - startedMs > RUN_LIMIT_MS) {
      throw new Error(`Billing run ${run.id} is still at "${run.step}" after ${RUN_LIMIT_MS / 60_000} minutes.`)
    }
    await sleep(POLL_MS, undefined, signal ? { signal } : {})
    run = await tenant.call({ method: 'GET', path: `/billing-runs/${run.id}` }, BillingRun)
  }
  if (run.state !== 'completed')
    throw new Error(`Billing run ${run.id} ${run.state}: ${run.error ?? 'no reason given'}`)
  const parked = run.parked?.[0]
  if (parked) throw new Error(`Billing run ${run.id} could not bill a subscription: ${parked.reason}`)
}

/** All invoices of the tenant, those of earlier runs too. */
export async function readInvoices(tenant: DemoClient): Promise<InvoiceAnswer[]> {
  const ids: string[] = []
  for (let after: string | null = ''; after !== null; ) {
    const query: string = after === '' ? '' : `&after=${encodeURIComponent(after)}`
    const page: Static<typeof InvoicePage> = await tenant.call(
      { method: 'GET', path: `/invoices?limit=${PAGE_INVOICES}${query}` },
      InvoicePage,
    )
    ids.push(...page.invoices.map(({ id }) => id))
    after = page.next
  }
  const invoices: InvoiceAnswer[] = []
  await forEachInFlight(ids, REQUESTS_IN_FLIGHT, async (id) => {
    invoices.push(await tenant.call({ method: 'GET', path: `/invoices/${id}` }, InvoiceAnswer))
  })
  return invoices
}
