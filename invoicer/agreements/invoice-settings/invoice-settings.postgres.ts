import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray } from '../../array-text.ts'
import { DEFAULT_SETTINGS, type InvoiceSettings } from './settings.ts'
import type { InvoiceTexts } from './texts.ts'

type SettingsRow = { zero_invoices: InvoiceSettings['zeroInvoices']; least_due: InvoiceSettings['leastDue'] }

/** Those of the tenant, or the default ones; and whether anybody of the tenant has texts for invoices. */
export async function findInvoiceSettings(
  tx: TenantTransaction,
): Promise<{ settings: InvoiceSettings; hasTexts: boolean }> {
  const { rows } = await tx.query<(SettingsRow | { zero_invoices: null }) & { has_texts: boolean }>(
    `SELECT s.zero_invoices, s.least_due, t.has_texts
     FROM (SELECT EXISTS (SELECT FROM invoice_texts) AS has_texts) AS t LEFT JOIN invoice_settings s ON true`,
  )
  const [row] = rows
  const settings = row?.zero_invoices ? { zeroInvoices: row.zero_invoices, leastDue: row.least_due } : DEFAULT_SETTINGS
  return { settings, hasTexts: row?.has_texts === true }
}

export async function putInvoiceSettings(
  tx: TenantTransaction,
  { zeroInvoices, leastDue }: InvoiceSettings,
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO invoice_settings (tenant_id, zero_invoices, least_due, updated_at) VALUES (app_tenant(), $1, $2, $3)
     ON CONFLICT (tenant_id) DO UPDATE
     SET zero_invoices = excluded.zero_invoices, least_due = excluded.least_due, updated_at = excluded.updated_at`,
    [zeroInvoices, JSON.stringify(leastDue), new Date(atMs)],
  )
}

/** Of owners that have any, by their ids; null is the tenant. */
export async function listInvoiceTexts(
  tx: TenantTransaction,
  ownerIds: readonly (string | null)[],
): Promise<Map<string | null, InvoiceTexts>> {
  const { rows } = await tx.query<{ owner_id: string | null; texts: InvoiceTexts }>(
    'SELECT owner_id, texts FROM invoice_texts WHERE owner_id = ANY ($1::uuid[]) OR (owner_id IS NULL AND $2)',
    [idArray([...new Set(ownerIds)].filter((id) => id !== null)), ownerIds.includes(null)],
  )
  return new Map(rows.map((row) => [row.owner_id, row.texts]))
}

export async function putInvoiceTexts(
  tx: TenantTransaction,
  ownerId: string | null,
  texts: InvoiceTexts,
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO invoice_texts (tenant_id, owner_id, texts, updated_at) VALUES (app_tenant(), $1, $2, $3)
     ON CONFLICT (tenant_id, owner_id) DO UPDATE SET texts = excluded.texts, updated_at = excluded.updated_at`,
    [ownerId, JSON.stringify(texts), new Date(atMs)],
  )
}
