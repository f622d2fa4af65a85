import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { formatMoney, isStorable, parseMoney, roundToMinorOfAnySize } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, isQuantityText, parseQuantity } from '../../../schemas/quantity.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import { readSubscription } from '../../agreements/subscriptions/read-subscription.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { OneTimeEntry, OneTimeItem } from './invoice-item.ts'
import { findItemByKey, insertItem } from './items.postgres.ts'
import { soldOnce } from './sold-once.ts'

/**
 * A customer, a subscription of it, or both, by id or external key. Either an amount or a quantity and what a unit
 * costs; texts in major units, and below 0 for what is given.
 */
export type CreateItem = {
  externalKey: string
  customer: string | null
  subscription: string | null
  /** Null, where it names a product: as that is called. */
  description: string | null
  /** By id or key: what a unit costs says its one-time price, in place of an amount. */
  product?: string | null
  currency: string | null
  amount: string | null
  quantity: string | null
  unitAmount: string | null
  /** Left out: none. */
  taxClass?: string | null
}

/**
 * Puts a one-time item on the next invoice, once per external key: the same content again answers the stored item, deleted
 * or not.
 * @throws Problem not_found; invalid_request for an amount or currency that cannot be; conflict for other content under
 * the same key.
 */
export async function createItem(
  tx: TenantTransaction,
  input: CreateItem,
  means: Means,
): Promise<{ item: OneTimeItem; created: boolean }> {
  const payer = await payerOf(tx, input)
  const item = await itemFrom(tx, input, payer, means)
  if (!(await insertItem(tx, item, [entryOf(item)]))) {
    return { item: await storedItem(tx, item, () => itemFrom(tx, input, payer, means)), created: false }
  }
  const { currency, description, subscriptionId } = item
  const data = { item_id: item.id, amount: formatMoney(item.amountMinor, currency), currency, description }
  const subjects = { customerId: item.customerId, ...(subscriptionId === null ? {} : { subscriptionId }) }
  await insertBillingEvents(
    tx,
    [{ id: means.newId(), event: 'invoice_item.created', ...subjects, data }],
    item.createdAtMs,
  )
  return { item, created: true }
}

/**
 * The one that is there, where it says the same. Where an equal call at the same time put it there, the price of the product
 * may have changed between the two: then what is asked is read `again`, with the price that it was sold for.
 */
async function storedItem(
  tx: TenantTransaction,
  item: OneTimeItem,
  again: () => Promise<OneTimeItem>,
): Promise<OneTimeItem> {
  const stored = await findItemByKey(tx, item.externalKey)
  if (stored !== undefined && isAlike(stored, item)) return stored
  const isOfProduct = item.productKey !== null && stored?.productKey === item.productKey
  if (isOfProduct && isAlike(stored, await again())) return stored
  throw new Problem('conflict', `Item ${JSON.stringify(item.externalKey)} exists with other content.`)
}

type Payer = Awaited<ReturnType<typeof payerOf>>

async function itemFrom(
  tx: TenantTransaction,
  input: CreateItem,
  { customer, subscriptionId }: Payer,
  means: Means,
): Promise<OneTimeItem> {
  const { currency } = customer
  if (input.currency !== null && input.currency !== currency) {
    throw invalid({ path: 'currency', message: `The customer pays in ${currency}.` })
  }
  const { externalKey, product } = input
  const sold = product == null ? undefined : await soldOnce(tx, { ...input, product }, currency)
  const { description } = sold ?? input
  if (description === null) throw invalid({ path: 'description', message: 'Say what it is for, or name a product.' })
  return {
    ...{ id: means.newId(), externalKey, customerId: customer.id, subscriptionId, description, currency },
    ...{ ...pricedFrom({ ...input, ...sold }, currency), productKey: sold?.productKey ?? null },
    taxClass: input.taxClass ?? null,
    createdAtMs: means.now(),
    invoiceId: null,
    state: 'pending',
  }
}

async function payerOf(tx: TenantTransaction, { customer, subscription }: CreateItem) {
  if (subscription === null) {
    if (customer === null) throw invalid({ path: 'customer', message: 'Name a customer or a subscription.' })
    return { customer: await readCustomer(tx, customer), subscriptionId: null }
  }
  const { id: subscriptionId, customerId } = await readSubscription(tx, subscription)
  const payer = await readCustomer(tx, customer ?? customerId)
  if (payer.id !== customerId) {
    throw invalid({ path: 'subscription', message: 'This is a subscription of another customer.' })
  }
  return { customer: payer, subscriptionId }
}

/** quantity × unit amount is exact, and rounded once. */
function pricedFrom({ amount, quantity, unitAmount }: CreateItem, currency: string) {
  if (amount !== null) {
    if (quantity !== null || unitAmount !== null) {
      throw invalid({ path: 'amount', message: 'Give an amount, or a quantity and a unit amount.' })
    }
    return { amountMinor: billable(parseMoney(amount, currency)), quantity: null, unitAmount: null }
  }
  const [units, each] = [decimalAt('quantity', quantity), decimalAt('unit_amount', unitAmount)]
  return {
    amountMinor: billable(roundToMinorOfAnySize(units.times(each), currency)),
    quantity: formatQuantity(units),
    unitAmount: formatQuantity(each),
  }
}

function decimalAt(path: string, text: string | null) {
  if (text === null) throw invalid({ path, message: 'Give an amount, or a quantity and a unit amount.' })
  if (!isQuantityText(text)) throw invalid({ path, message: 'This is no decimal of at most 26 and 12 digits.' })
  return parseQuantity(text)
}

function billable(amountMinor: bigint): bigint {
  if (!isStorable(amountMinor)) throw invalid({ path: 'quantity', message: 'The amount would be too large.' })
  if (amountMinor === 0n) throw invalid({ path: 'amount', message: 'An item must cost, or give, something.' })
  return amountMinor
}

function entryOf({ amountMinor, currency, quantity, unitAmount }: OneTimeItem): OneTimeEntry {
  const amount = formatMoney(amountMinor, currency)
  if (quantity === null || unitAmount === null) return { type: 'one_time', amount }
  return { type: 'one_time', quantity, unit_amount: unitAmount, amount }
}

function isAlike(a: OneTimeItem, b: OneTimeItem): boolean {
  return (
    a.customerId === b.customerId &&
    a.subscriptionId === b.subscriptionId &&
    a.description === b.description &&
    a.amountMinor === b.amountMinor &&
    a.quantity === b.quantity &&
    a.unitAmount === b.unitAmount &&
    a.taxClass === b.taxClass &&
    a.productKey === b.productKey
  )
}

function invalid(...errors: ProblemError[]): Problem {
  return new Problem('invalid_request', 'The item is not valid.', { errors })
}
