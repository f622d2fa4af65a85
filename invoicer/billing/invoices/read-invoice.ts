import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Invoice } from './invoice.ts'
import { findInvoice } from './invoices.postgres.ts'

/** @throws Problem not_found. Another tenant's invoice is not there either. */
export async function readInvoice(tx: TenantTransaction, id: string): Promise<Invoice> {
  const invoice = await findInvoice(tx, id)
  if (invoice === undefined) throw new Problem('not_found', 'There is no invoice with this id.')
  return invoice
}
