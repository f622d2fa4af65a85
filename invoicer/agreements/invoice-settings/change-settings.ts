import { isDeepStrictEqual } from 'node:util'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents, type Subjects } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { readCustomer } from '../customers/read-customer.ts'
import { readLegalEntity } from '../entities/read-legal-entity.ts'
import { readSubscription } from '../subscriptions/read-subscription.ts'
import {
  findInvoiceSettings,
  listInvoiceTexts,
  putInvoiceSettings,
  putInvoiceTexts,
} from './invoice-settings.postgres.ts'
import { type InvoiceSettings, leastDueMinor } from './settings.ts'
import { type InvoiceTexts, NO_TEXTS } from './texts.ts'

/** Whose texts they are: by id or external key, of a legal entity by its key. */
export type TextsOwner = { kind: 'tenant' } | { kind: 'customer' | 'subscription' | 'legal_entity'; key: string }

/**
 * Says how the tenant's invoices are made from now on; those that are issued stay. The same again changes nothing.
 * @throws Problem invalid_request for what is no currency, or no amount in it.
 */
export async function changeInvoiceSettings(
  tx: TenantTransaction,
  wanted: InvoiceSettings,
  means: Means,
): Promise<InvoiceSettings> {
  leastDueMinor(wanted)
  const { settings } = await findInvoiceSettings(tx)
  if (isDeepStrictEqual(settings, wanted)) return settings
  const atMs = means.now()
  await putInvoiceSettings(tx, wanted, atMs)
  const data = { zero_invoices: wanted.zeroInvoices, least_due: wanted.leastDue }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'invoice_settings.changed', data }], atMs)
  return wanted
}

/** @throws Problem not_found. */
export async function readInvoiceTexts(tx: TenantTransaction, owner: TextsOwner): Promise<InvoiceTexts> {
  const { id } = await ownerOf(tx, owner)
  return (await listInvoiceTexts(tx, [id])).get(id) ?? NO_TEXTS
}

/**
 * Says what invoices show beside amounts, from now on; those that are issued stay. All of it at once, and the same again
 * changes nothing.
 * @throws Problem not_found.
 */
export async function changeInvoiceTexts(
  tx: TenantTransaction,
  owner: TextsOwner,
  wanted: InvoiceTexts,
  means: Means,
): Promise<InvoiceTexts> {
  const { id, subjects } = await ownerOf(tx, owner)
  const stored = (await listInvoiceTexts(tx, [id])).get(id) ?? NO_TEXTS
  if (isDeepStrictEqual(stored, wanted)) return stored
  const atMs = means.now()
  await putInvoiceTexts(tx, id, wanted, atMs)
  const data = { owner: owner.kind, ...(owner.kind === 'legal_entity' ? { legal_entity: owner.key } : {}), ...wanted }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'invoice_texts.changed', ...subjects, data }], atMs)
  return wanted
}

async function ownerOf(tx: TenantTransaction, owner: TextsOwner): Promise<{ id: string | null; subjects: Subjects }> {
  switch (owner.kind) {
    case 'tenant':
      return { id: null, subjects: {} }
    case 'legal_entity':
      return { id: (await readLegalEntity(tx, owner.key)).id, subjects: {} }
    case 'customer': {
      const { id } = await readCustomer(tx, owner.key)
      return { id, subjects: { customerId: id } }
    }
    case 'subscription': {
      const { id, customerId } = await readSubscription(tx, owner.key)
      return { id, subjects: { subscriptionId: id, customerId } }
    }
  }
}
