import { isDeepStrictEqual } from 'node:util'
import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { floorToMinute } from '../../../schemas/time/period.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import { findInvoiceSettings } from '../../agreements/invoice-settings/invoice-settings.postgres.ts'
import { leastDueMinor } from '../../agreements/invoice-settings/settings.ts'
import type { Announce } from '../../outbox/announce.ts'
import type { Means, Transact } from '../../transaction.ts'
import { NOTHING_APPLIED } from '../invoices/rated-invoice.ts'
import type { PendingItem } from '../items/invoice-item.ts'
import { findItems, listPendingItems, lockPendingItems, markInvoiced } from '../items/items.postgres.ts'
import { withItems } from '../items/with-items.ts'
import { type Draft, untaxedDraft } from '../lines.ts'
import type { ApplyBalance, DrawCredit } from '../run/issue-chunk.ts'
import type { TaxContext } from '../tax/tax.ts'
import type { TaxEngine } from '../tax/tax-port.ts'
import { loadTaxes } from '../tax/taxes.postgres.ts'
import { issueBeside } from './issue-beside.ts'
import { findOneOff, insertOneOff, payerOf } from './one-off.postgres.ts'

/**
 * `customer` is an id or external key; `items` ids or external keys, null: those that name no subscription, the first
 * thousand of them.
 */
export type IssueOneOff = { idempotencyKey: string; customer: string; items: readonly string[] | null }

export type OneOffDeps = Means & {
  transact: Transact
  announce: Announce
  tax: TaxEngine
  drawCredit: DrawCredit
  applyBalance: ApplyBalance
}

const MINUTE_MS = 60_000
/** Whoever invoices or takes back an item at the same time comes first so often. */
const ATTEMPTS = 3
/** On one invoice, as many as can be named. */
const MOST_ITEMS = 1_000

/**
 * Issues what waits for a customer now, as an invoice beside all periods, once per idempotency key; answers its id. Who pays
 * for the customer has it, taxed as ever; credit and balance pay it, coupons do not. Order of effects:
 *   what waits is read, and its tax asked for   nothing is stored
 *   key taken → items locked → marked → credit drawn → balance applied → invoice with its number, last   one commit
 *   line of the log, count                      lost with the process, no money
 * A crash before the commit leaves nothing, and the same call begins anew; one after it leaves the invoice, which the same
 * call answers. A run that takes an item first keeps it: what is left then is tried again.
 * @throws Problem not_found; conflict for another request under the same key; illegal_state where nothing waits;
 * calculation_failed where the tax is not known, and then nothing is issued.
 */
export async function issueOneOff(deps: OneOffDeps, tenantId: TenantId, input: IssueOneOff): Promise<string> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const prepared = await prepare(deps, tenantId, input)
    if ('invoiceId' in prepared) return prepared.invoiceId
    const issued = await deps.transact(tenantId, (tx) => issue(tx, deps, input, prepared))
    if (issued === undefined) continue
    announceIssued(deps, issued, prepared)
    return issued
  }
  throw new Problem('illegal_state', 'Others invoice or delete these items at the same time: try again.')
}

type Prepared = { request: object; payer: { id: string; key: string }; currency: string; atMs: number; draft: Draft }

async function prepare(
  { transact, tax, now }: OneOffDeps,
  tenantId: TenantId,
  input: IssueOneOff,
): Promise<Prepared | { invoiceId: string }> {
  const found = await transact(tenantId, async (tx) => {
    const { id: customerId, currency } = await readCustomer(tx, input.customer)
    const request = { customer_id: customerId, items: input.items }
    const stored = await findOneOff(tx, input.idempotencyKey)
    if (stored !== undefined) return { invoiceId: sameAs(stored, request) }
    const payer = await payerOf(tx, customerId)
    const items = await wantedItems(tx, customerId, input.items)
    const context = (await loadTaxes(tx, [payer.id]))(payer.id)
    return { request, payer, items, context, currency }
  })
  if (found.invoiceId !== undefined) return { invoiceId: found.invoiceId }
  const { items, context, currency, ...rest } = found
  const atMs = now()
  const draft = await taxedDraft(tax, context, items, currency, atMs)
  return { ...rest, currency, atMs, draft }
}

async function wantedItems(
  tx: TenantTransaction,
  customerId: string,
  names: readonly string[] | null,
): Promise<PendingItem[]> {
  const waiting = (await listPendingItems(tx, [customerId])).filter(({ kind }) => kind === 'one_time')
  if (names === null) {
    const own = waiting.filter(({ subscriptionId }) => subscriptionId === null)
    if (own.length === 0) throw new Problem('illegal_state', 'Nothing waits for this customer: add an invoice item.')
    return own.slice(0, MOST_ITEMS)
  }
  const found = await findItems(tx, names)
  const waits = new Set(waiting.map(({ id }) => id))
  const ids = new Set<string>()
  for (const name of names) {
    const item = found.get(name)
    if (item === undefined || !waits.has(item.id)) {
      throw new Problem('illegal_state', `Item ${JSON.stringify(name)} does not wait for this customer.`)
    }
    ids.add(item.id)
  }
  return waiting.filter(({ id }) => ids.has(id))
}

/** Of the minute in which it is issued. No plan makes its lines. */
async function taxedDraft(
  tax: TaxEngine,
  context: TaxContext | undefined,
  items: readonly PendingItem[],
  currency: string,
  atMs: number,
): Promise<Draft> {
  const startMs = floorToMinute(atMs)
  const draft = withItems(untaxedDraft([]), items, {
    planId: '',
    period: { startMs, endMs: startMs + MINUTE_MS },
    currency,
  })
  if (draft.lines.length === 0) throw new Problem('illegal_state', `Nothing waits for this customer in ${currency}.`)
  return context === undefined ? draft : tax(draft, context, atMs, currency)
}

/** Undefined: an item was taken meanwhile, or the key; then nothing stays. */
async function issue(
  tx: TenantTransaction,
  deps: OneOffDeps,
  { idempotencyKey }: IssueOneOff,
  { request, payer, currency, atMs, draft }: Prepared,
): Promise<string | undefined> {
  const id = deps.newId()
  const payerId = payer.id
  const itemIds = draft.lines.flatMap(({ itemId }) => itemId ?? [])
  const waiting = await lockPendingItems(tx, itemIds)
  if (itemIds.some((itemId) => !waiting.has(itemId))) return undefined
  if (!(await insertOneOff(tx, idempotencyKey, { request, invoiceId: id }))) return undefined
  const places = draft.lines.flatMap(({ itemId }, lineIndex) =>
    itemId === undefined ? [] : [{ itemId, invoiceId: id, lineIndex }],
  )
  await markInvoiced(tx, places)
  const { legalEntityId = null, totalMinor, lines } = draft
  const toPay = { id, customerId: payerId, subscriptionId: null, legalEntityId, currency, totalMinor, lines }
  const credit = await deps.drawCredit(tx, [toPay], atMs)
  const { settings } = await findInvoiceSettings(tx)
  const applied = await deps.applyBalance(tx, [toPay], credit, leastDueMinor(settings), atMs)
  const [first] = lines
  if (first === undefined) return undefined
  const { startMs, endMs } = first.period
  const invoice = {
    ...{ id, customerId: payerId, currency, period: { startMs, endMs }, draft, paidBy: null },
    ...{ creditMinor: credit.get(id) ?? 0n, applied: applied.get(id) ?? NOTHING_APPLIED },
  }
  await issueBeside(tx, deps, [invoice], atMs)
  return id
}

function announceIssued({ announce }: OneOffDeps, invoiceId: string, { payer, currency, draft }: Prepared): void {
  const amount = formatMoney(draft.totalMinor, currency)
  announce({ event: 'invoice_finalised', userId: payer.key, usageType: 'one_time', amount, currency, invoiceId })
}

function sameAs({ request, invoiceId }: { request: object; invoiceId: string }, wanted: object): string {
  if (isDeepStrictEqual(request, wanted)) return invoiceId
  throw new Problem('conflict', 'This idempotency key stands for another invoice.')
}
