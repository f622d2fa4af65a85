import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { listInvoiceTexts } from '../../agreements/invoice-settings/invoice-settings.postgres.ts'
import { isEmpty, mergedTexts } from '../../agreements/invoice-settings/texts.ts'
import { idArray } from '../../array-text.ts'
import { payerIdOf } from '../due.ts'
import type { NewInvoice } from './rated-invoice.ts'

/** Copies what the invoices show beside amounts as it is now, so that what is issued never changes. */
export async function keepTexts(tx: TenantTransaction, invoices: readonly NewInvoice[]): Promise<void> {
  const ownersOf = ({ subscription, draft }: NewInvoice) => [
    null,
    ...(draft.legalEntityId === undefined ? [] : [draft.legalEntityId]),
    payerIdOf(subscription),
    subscription.id,
  ]
  await keepTextsOf(
    tx,
    invoices.map((invoice) => ({ id: invoice.id, owners: ownersOf(invoice) })),
  )
}

/** The same of whoever has a say in an invoice; of later ones' texts the same member wins. */
export async function keepTextsOf(
  tx: TenantTransaction,
  invoices: readonly { id: string; owners: readonly (string | null)[] }[],
): Promise<void> {
  const textsOf = await listInvoiceTexts(
    tx,
    invoices.flatMap(({ owners }) => owners),
  )
  const issued = invoices
    .map(({ id, owners }) => ({ id, texts: mergedTexts(owners.flatMap((owner) => textsOf.get(owner) ?? [])) }))
    .filter(({ texts }) => !isEmpty(texts))
  if (issued.length === 0) return
  await tx.query(
    `INSERT INTO issued_texts (tenant_id, invoice_id, texts)
     SELECT app_tenant(), n.* FROM ROWS FROM (unnest($1::uuid[]), jsonb_array_elements($2::jsonb)) AS n`,
    [idArray(issued.map(({ id }) => id)), JSON.stringify(issued.map(({ texts }) => texts))],
  )
}
