import { type InvoiceAnswer, readInvoices, runBilling } from './billing-run.ts'
import { type Contract, CUSTOMERS, contractOf, openTenant, setUpCatalog } from './demo-catalog.ts'
import { createDemoClient } from './demo-client.ts'
import { type DemoSummary, summarise } from './invoice-summary.ts'
import { postTrace } from './post-trace.ts'
import type { Report } from './progress.ts'
import type { TraceRow } from './trace-csv.ts'

export type DemoTrace = { tenantSlug: string; rows: readonly TraceRow[] }
export type DemoRun = { url: string; apiKey: string; trace: DemoTrace; report: Report; signal?: AbortSignal }

/**
 * The main job from outside: usage in, paid invoices out. The key is an operator's. Running it again on the same trace
 * sends everything again and gives the same result.
 */
export async function runDemo({ url, apiKey, trace, report, signal }: DemoRun): Promise<DemoSummary> {
  const contract = contractOf(trace.rows)
  refuseUnfinishedMonth(contract)
  const abort = signal ? { signal } : {}
  report.step(`tenant ${trace.tenantSlug} on ${url}`)
  const tenantKey = await openTenant(createDemoClient({ url, apiKey, ...abort }), trace.tenantSlug)
  const tenant = createDemoClient({ url, apiKey: tenantKey, ...abort })
  report.step('event type, meters, plan, customers and subscriptions')
  await setUpCatalog(tenant, contract)
  report.step(`posting ${trace.rows.length} events`)
  await postTrace(tenant, trace.rows, (doneRows) => report.progress(doneRows, trace.rows.length))
  report.step('billing run: seal, invoices, payments')
  await runBilling(tenant, signal)
  report.step('reading the invoices back')
  const summary = summarise(await readInvoices(tenant))
  refuseIncomplete(summary, contract, trace.rows.length)
  return summary
}

/** A month that still runs gets no invoice, so the demo would have nothing to show for it. */
function refuseUnfinishedMonth({ end, billableFromMs }: Contract): void {
  if (billableFromMs <= Date.now()) return
  const billableFrom = new Date(billableFromMs).toISOString()
  throw new Error(`The trace reaches into the month before ${end}, which cannot be billed before ${billableFrom}.`)
}

/** What is printed is complete and paid, or it is an error: never part of an answer. */
function refuseIncomplete({ invoices, total }: DemoSummary, { months }: Contract, sentEvents: number): void {
  const expectedInvoices = CUSTOMERS.length * months
  if (invoices.length !== expectedInvoices) {
    throw new Error(`There are ${invoices.length} invoices instead of ${expectedInvoices}.`)
  }
  const unpaid = invoices.find(({ state }: InvoiceAnswer) => state !== 'paid')
  if (unpaid) throw new Error(`Invoice ${unpaid.number} is ${unpaid.state}, not paid.`)
  if (total.events !== BigInt(sentEvents)) {
    throw new Error(`The invoices count ${total.events} events, but ${sentEvents} were sent.`)
  }
}
