import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { listInvoiceTexts } from '../../agreements/invoice-settings/invoice-settings.postgres.ts'
import { isEmpty, mergedTexts } from '../../agreements/invoice-settings/texts.ts'
import { idArray } from '../../array-text.ts'
import type { NewInvoice } from './rated-invoice.ts'

/** Copies what the invoices show beside amounts as it is now, so that what is issued never changes. */
export async function keepTexts(tx: TenantTransaction, invoices: readonly NewInvoice[]): Promise<void> {
  const ownersOf = ({ subscription, draft }: NewInvoice) => [
    null,
    ...(draft.legalEntityId === undefined ? [] : [draft.legalEntityId]),
    subscription.customerId,
    subscription.id,
  ]
  const textsOf = await listInvoiceTexts(tx, invoices.flatMap(ownersOf))
  const issued = invoices
    .map((invoice) => ({
      id: invoice.id,
      texts: mergedTexts(ownersOf(invoice).flatMap((id) => textsOf.get(id) ?? [])),
    }))
    .filter(({ texts }) => !isEmpty(texts))
  if (issued.length === 0) return
  await tx.query(
    `INSERT INTO issued_texts (tenant_id, invoice_id, texts)
     SELECT app_tenant(), n.* FROM ROWS FROM (unnest($1::uuid[]), jsonb_array_elements($2::jsonb)) AS n`,
    [idArray(issued.map(({ id }) => id)), JSON.stringify(issued.map(({ texts }) => texts))],
  )
}
