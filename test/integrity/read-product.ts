import { existsSync, readFileSync } from 'node:fs'
import type { Api } from '../support/api.ts'
import { eventually } from '../support/product.ts'
import type { AskStores } from './ask-stores.ts'
import { METERS, MONTH } from './catalog.ts'
import { type Counted, keyOf } from './events.ts'
import type { Charge } from './killing-ports.ts'

/** What the product says, over its API and from its stores. */
export type UsageBySubject = Map<string, Counted>
export type InvoiceRow = {
  id: string
  number: string
  state: string
  customer: string
  amounts: string[]
  total: string
}
export type PaymentRow = { invoiceId: string; state: string; amountMinor: string }
export type Run = { id: string; state: string; invoices_created: number; parked: unknown[] }

const YEAR_MS = 366 * 86_400_000

type UsageAnswer = { windows: { subject: string; quantity: string; events: number }[] }

/** Exact usage of all time by subject, over the API. */
export async function readUsage(tenant: Api): Promise<UsageBySubject> {
  const from = new Date(MONTH.startMs - YEAR_MS).toISOString()
  const to = new Date(Date.now() + YEAR_MS).toISOString()
  const ask = (meter: string) =>
    tenant.call<UsageAnswer>('GET', `/usage?meter=${meter}&from=${from}&to=${to}&group_by=subject`)
  const [context, generated] = [await ask(METERS.context), await ask(METERS.generated)]
  const tokens = new Map(generated.windows.map((row) => [row.subject, row]))
  return new Map(
    context.windows.map(({ subject, quantity, events }) => [
      subject,
      // An event that one meter counts and the other does not would show here.
      {
        events: events === tokens.get(subject)?.events ? events : -1,
        context: whole(quantity),
        generated: whole(tokens.get(subject)?.quantity),
      },
    ]),
  )
}

function whole(quantity: string | undefined): bigint {
  if (!/^\d+$/.test(quantity ?? '')) throw new Error(`${quantity} is no whole number of tokens`)
  return BigInt(quantity ?? '')
}

type InvoicePage = {
  invoices: {
    id: string
    number: string
    state: string
    customer: { external_key: string }
    lines: { index: number; amount: string }[]
    total: string
  }[]
  next: string | null
}

/** All invoices of the tenant, over the API. */
export async function readInvoices(tenant: Api): Promise<InvoiceRow[]> {
  const rows: InvoiceRow[] = []
  for (let after: string | null = ''; after !== null; ) {
    const page: InvoicePage = await tenant.call('GET', `/invoices?limit=100${after === '' ? '' : `&after=${after}`}`)
    for (const { customer, lines, ...invoice } of page.invoices) {
      const amounts = lines.toSorted((a, b) => a.index - b.index).map(({ amount }) => amount)
      rows.push({ ...invoice, customer: customer.external_key, amounts })
    }
    after = page.next
  }
  return rows
}

/** Opens a run and answers how it ended. */
export async function runBilling(tenant: Api): Promise<Run> {
  const { id } = await tenant.call<Run>('POST', '/billing-runs', {})
  return awaitRun(tenant, id)
}

/** How a run ended; where it stands if it does not end. */
export function awaitRun(tenant: Api, id: string): Promise<Run> {
  return eventually(
    () => tenant.call<Run>('GET', `/billing-runs/${id}`),
    ({ state }) => state !== 'running',
  )
}

export async function tenantIdOf(ask: AskStores, slug: string): Promise<number> {
  const [row] = await ask.postgres<{ tenant_id: number }>('SELECT tenant_id FROM tenants WHERE slug = $1', [slug])
  if (!row) throw new Error(`There is no tenant ${slug}`)
  return row.tenant_id
}

/** The runs of a tenant, from Postgres: the answer to who opened one may never have come. */
export function readRunIds(ask: AskStores, tenantId: number): Promise<{ id: string }[]> {
  return ask.postgres('SELECT id FROM billing_runs WHERE tenant_id = $1 ORDER BY opened_at', [tenantId])
}

export function readPayments(ask: AskStores, tenantId: number): Promise<PaymentRow[]> {
  return ask.postgres(
    `SELECT invoice_id AS "invoiceId", state, amount_minor::text AS "amountMinor" FROM payments WHERE tenant_id = $1`,
    [tenantId],
  )
}

/** What the gateway was asked, in its own book. */
export function readCharges(book: string): Charge[] {
  if (!existsSync(book)) return []
  return readFileSync(book, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Charge)
}

/** The identities that lie in ClickHouse. */
export async function readIdentities(ask: AskStores, tenantId: number): Promise<string[]> {
  const rows = await ask.clickhouse<{ source: string; id: string }>(
    `SELECT DISTINCT source, id FROM events WHERE tenant = ${tenantId}`,
  )
  return rows.map(keyOf)
}
