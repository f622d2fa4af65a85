import type { TenantId } from '../../../schemas/http/door.ts'
import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import { issueBeside } from '../../billing/beside/issue-beside.ts'
import { isDataError } from '../../billing/run/issue-chunk.ts'
import { noTax } from '../../billing/tax/tax-port.ts'
import { loadTaxes } from '../../billing/tax/taxes.postgres.ts'
import { queueDeliveries } from '../../outbox/deliveries.postgres.ts'
import { insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import type { Means, Transact } from '../../transaction.ts'
import type { CreditGrant } from '../credits/credit.ts'
import { insertGrants, lockCreditOf, readBalance } from '../credits/credits.postgres.ts'
import { daysLaterMs } from '../credits/due-grants.ts'
import { renewIfItCan } from '../credits/renew-credit.ts'
import { watchCreditOf } from '../credits/thresholds.postgres.ts'
import { DEFAULT_CREDIT_THRESHOLDS } from '../credits/thresholds.ts'
import { charge } from '../payments/collect-payments.ts'
import type { ChargeResult, Gateway } from '../payments/gateway.ts'
import { purchaseInvoice } from './purchase-invoice.ts'
import { claimPurchases, markPurchasesInvoiced, settlePurchases } from './purchases.postgres.ts'
import { keepDeclines, lockRules } from './rules.postgres.ts'
import type { Purchase, TopUpRule } from './top-up.ts'

export type ChargeDeps = Means & { transact: Transact; gateway: Gateway }

/** The topic of webhooks. */
export const TOP_UP_SUSPENDED = 'credit.top_up_suspended'

/** So many are on their way to the gateway at once. */
const MOST = 8
const ASK_AGAIN_MS = 60_000
const RETRY_AFTER_MS = 24 * 3_600_000
/** In a row; then the rule is suspended. */
const MOST_DECLINES = 3

/**
 * Asks the gateway for purchases that are open; answers of how many. Order of effects, and what a crash before each
 * leaves:
 *   purchase, whose id is the key (open-purchases.ts)   nothing
 *   taken for a minute                                  whoever comes next takes it
 *   gateway                                             asked again in a minute, with the same key: it charges once
 *   credit that is due                                  as if it had been given by itself
 *   result; grant, or decline of the rule; history;     one commit: all or none, and then the gateway is asked again and
 *   invoice of what was paid, with its number, last     answers what it did
 * No answer, or one that nobody understands, is none: the purchase stays open, so that no other one is made, and `failed`
 * hears of it. So it does of a result that the database refuses because of its content, which holds up no other.
 */
export async function chargePurchases(
  deps: ChargeDeps,
  tenantId: TenantId,
  failed: (customerId: string, error: unknown) => void,
): Promise<number> {
  const { transact, gateway, now } = deps
  const atMs = now()
  const claimed = await transact(tenantId, (tx) => claimPurchases(tx, gateway.name, atMs, atMs + ASK_AGAIN_MS, MOST))
  const results = await Promise.all(
    claimed.map(async (purchase) => {
      const { id, amountMinor, currency } = purchase
      return { purchase, result: await charge(gateway, { idempotencyKey: id, invoiceId: id, amountMinor, currency }) }
    }),
  )
  for (const { purchase, result } of results) {
    if (result.outcome === 'unknown') failed(purchase.customerId, new Error(result.reason))
  }
  const settled = results.flatMap(({ purchase, result }) => withResult(purchase, result))
  if (settled.length > 0) await keepResults(deps, tenantId, settled, failed)
  return claimed.length
}

/** What is due comes before what was bought, in a transaction of its own: its locks come before those of rules. */
async function keepResults(
  deps: ChargeDeps,
  tenantId: TenantId,
  settled: readonly Purchase[],
  failed: (customerId: string, error: unknown) => void,
): Promise<void> {
  const { transact } = deps
  const atMs = deps.now()
  const customers = settled.filter(({ state }) => state === 'paid').map(({ customerId }) => customerId)
  if (customers.length > 0) await transact(tenantId, (tx) => renewIfItCan(tx, deps, customers, atMs))
  try {
    return await transact(tenantId, (tx) => settle(tx, deps, settled, atMs))
  } catch (error) {
    if (!isDataError(error)) throw error
  }
  for (const purchase of settled) {
    await transact(tenantId, (tx) => settle(tx, deps, [purchase], atMs)).catch((error: unknown) => {
      if (!isDataError(error)) throw error
      failed(purchase.customerId, error)
    })
  }
}

function withResult(purchase: Purchase, result: ChargeResult): Purchase[] {
  if (result.outcome === 'unknown') return []
  if (result.outcome === 'declined') return [{ ...purchase, state: 'declined', reason: result.reason }]
  return [{ ...purchase, state: 'paid', reference: result.reference }]
}

/**
 * Rules are locked before purchases, as by whoever opens these; so is the credit of who has more of it by this, because who
 * buys by hand waits for purchases behind that lock.
 */
async function settle(tx: TenantTransaction, means: Means, settled: readonly Purchase[], atMs: number): Promise<void> {
  const customers = settled.map(({ customerId }) => customerId)
  const ruleOf = new Map((await lockRules(tx, customers)).map((rule) => [rule.customerId, rule]))
  const gaining = settled.flatMap(({ state, customerId }) => (state === 'paid' ? [customerId] : []))
  for (const customerId of gaining.toSorted()) await lockCreditOf(tx, customerId)
  const fresh = await settlePurchases(tx, settled, atMs)
  const inOrder = settled.filter(({ id }) => fresh.has(id)).toSorted((a, b) => (a.customerId < b.customerId ? -1 : 1))
  const invoices = await invoicesOf(tx, means, inOrder, atMs)
  for (const purchase of inOrder) {
    if (purchase.state === 'paid') await grant(tx, means, purchase, atMs)
    // What somebody asked for is no business of the rule.
    const rule = purchase.externalKey === null ? ruleOf.get(purchase.customerId) : undefined
    if (rule !== undefined) await keepDeclines(tx, behind(rule, purchase, atMs))
    await tell(tx, means, purchase, rule, atMs)
  }
  await markPurchasesInvoiced(tx, invoices)
  await issueBeside(
    tx,
    means,
    invoices.map(({ invoice }) => invoice),
    atMs,
  )
}

async function invoicesOf(tx: TenantTransaction, means: Means, purchases: readonly Purchase[], atMs: number) {
  const paid = purchases.flatMap((purchase) => {
    const { reference, state } = purchase
    return state === 'paid' && reference !== null ? [{ ...purchase, reference }] : []
  })
  const customers = paid.map(({ customerId }) => customerId)
  const taxOf = paid.length === 0 ? noTax : await loadTaxes(tx, customers)
  return paid.map((purchase) => {
    const invoice = purchaseInvoice(means, purchase, taxOf(purchase.customerId)?.seller.id, atMs)
    return { purchaseId: purchase.id, invoiceId: invoice.id, invoice }
  })
}

/** A rule behind the result of one of its purchases. */
function behind(rule: TopUpRule, { state, reason }: Purchase, atMs: number): TopUpRule {
  if (state === 'paid') return { ...rule, declines: 0, retryAtMs: null }
  const declines = rule.declines + 1
  if (declines < MOST_DECLINES) return { ...rule, declines, retryAtMs: atMs + RETRY_AFTER_MS }
  return { ...rule, declines, retryAtMs: null, suspendedAtMs: rule.suspendedAtMs ?? atMs, reason }
}

async function grant(tx: TenantTransaction, means: Means, purchase: Purchase, atMs: number): Promise<void> {
  const { id: purchaseId, customerId, currency, amountMinor, priority, expiresAfterDays, scope } = purchase
  const { timezone } = await readCustomer(tx, customerId)
  await lockCreditOf(tx, customerId)
  const expiresAtMs = expiresAfterDays === null ? null : daysLaterMs(atMs, expiresAfterDays, timezone)
  const balanceMinor = (await readBalance(tx, customerId, atMs)) + amountMinor
  const origin = { externalKey: null, scheduleId: null, scheduleIndex: null, rolledFrom: null, purchaseId }
  const content = { customerId, name: null, currency, amountMinor, remainingMinor: amountMinor, priority, scope }
  const bought: CreditGrant = {
    ...{ ...content, ...origin, balanceMinor, expiresAtMs, rollover: null },
    ...{ id: means.newId(), createdAtMs: atMs },
  }
  await insertGrants(tx, [bought])
  await watchCreditOf(tx, [customerId], DEFAULT_CREDIT_THRESHOLDS, atMs)
  const data = { grant_id: bought.id, amount: formatMoney(amountMinor, currency), currency, purchase_id: purchaseId }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'credit.granted', customerId, data }], atMs)
}

async function tell(
  tx: TenantTransaction,
  means: Means,
  purchase: Purchase,
  rule: TopUpRule | undefined,
  atMs: number,
): Promise<void> {
  const { id, customerId, currency, amountMinor, state, reference, reason, gateway } = purchase
  const data = { purchase_id: id, amount: formatMoney(amountMinor, currency), currency, gateway }
  const result =
    state === 'paid'
      ? ({ event: 'credit.top_up_paid', data: { ...data, reference } } as const)
      : ({ event: 'credit.top_up_declined', data: { ...data, reason } } as const)
  const events: NewBillingEvent[] = [{ id: means.newId(), customerId, ...result }]
  if (rule !== undefined && rule.suspendedAtMs === null && behind(rule, purchase, atMs).suspendedAtMs !== null) {
    const told = { id: means.newId(), event: TOP_UP_SUSPENDED, customerId, data: { ...data, reason } } as const
    events.push(told)
    const timestamp = new Date(atMs).toISOString()
    const { externalKey: customer } = await readCustomer(tx, customerId)
    const body = { type: TOP_UP_SUSPENDED, timestamp, data: { id: told.id, customer, ...told.data } }
    await queueDeliveries(tx, TOP_UP_SUSPENDED, [{ id: told.id, payload: JSON.stringify(body), atMs }])
  }
  await insertBillingEvents(tx, events, atMs)
}
