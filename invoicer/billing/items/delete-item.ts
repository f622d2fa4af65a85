import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { OneTimeItem } from './invoice-item.ts'
import { deletePendingItem, findItem } from './items.postgres.ts'

/** @throws Problem not_found. */
export async function readItem(tx: TenantTransaction, idOrKey: string): Promise<OneTimeItem> {
  const item = await findItem(tx, idOrKey)
  if (item === undefined) throw new Problem('not_found', 'There is no invoice item with this id or external key.')
  return item
}

/** Takes back an item that no invoice has yet; it stays, deleted. @throws Problem not_found; illegal_state. */
export async function deleteItem(tx: TenantTransaction, idOrKey: string, means: Means): Promise<OneTimeItem> {
  const { id, customerId, amountMinor, currency, externalKey } = await readItem(tx, idOrKey)
  const atMs = means.now()
  if (!(await deletePendingItem(tx, id, atMs))) {
    const item = await readItem(tx, id)
    if (item.state === 'deleted') return item
    throw new Problem('illegal_state', 'The item is on an invoice: give it back by a credit note.')
  }
  const data = { item_id: id, external_key: externalKey, amount: formatMoney(amountMinor, currency), currency }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'invoice_item.deleted', customerId, data }], atMs)
  return readItem(tx, id)
}
