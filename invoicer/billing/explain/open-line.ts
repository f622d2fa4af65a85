import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { Transact } from '../../transaction.ts'
import type { Invoice } from '../invoices/invoice.ts'
import { type OpenedInvoice, openInvoice } from './open-invoice.ts'

/** A line as it stands on an invoice, and the invoice that made it: itself, or a part of it, where it has another index. */
export type OpenedPlace = { shown: { invoice: Invoice; line: number }; opened: OpenedInvoice; index: number }

/** @throws Problem as openInvoice; not_found where an invoice that was gathered from parts has no such line. */
export async function openLineOf(
  transact: Transact,
  tenantId: TenantId,
  idOrNumber: string,
  line: number,
): Promise<OpenedPlace> {
  const opened = await openInvoice(transact, tenantId, idOrNumber)
  const { invoice } = opened
  const shown = { invoice, line }
  if (invoice.parts.length === 0) return { shown, opened, index: line }
  const part = invoice.parts.find(({ firstLine, lineCount }) => line >= firstLine && line < firstLine + lineCount)
  if (part === undefined) throw new Problem('not_found', `The invoice has no line ${line}: the first one is 0.`)
  return { shown, opened: await openInvoice(transact, tenantId, part.invoiceId), index: line - part.firstLine }
}
