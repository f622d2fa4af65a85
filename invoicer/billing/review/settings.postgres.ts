import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { DEFAULT_SETTINGS, type ReviewSettings } from './rules.ts'

/** `updatedAtMs` null: nothing was ever set, and these are the defaults. */
export type StoredSettings = ReviewSettings & { updatedAtMs: number | null }

export async function findSettings(tx: TenantTransaction): Promise<StoredSettings> {
  const { rows } = await tx.query<ReviewSettings & { updated_at: Date }>(
    'SELECT approval, rules, updated_at FROM billing_run_settings',
  )
  const [row] = rows
  if (row === undefined) return { ...DEFAULT_SETTINGS, updatedAtMs: null }
  return { approval: row.approval, rules: row.rules, updatedAtMs: row.updated_at.getTime() }
}

/** Until the end of the transaction nobody else changes the tenant's settings, which may have no row yet. */
export async function lockSettings(tx: TenantTransaction): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtextextended('billing run settings', app_tenant()))")
}

export async function upsertSettings(tx: TenantTransaction, settings: ReviewSettings, atMs: number): Promise<void> {
  await tx.query(
    `INSERT INTO billing_run_settings (tenant_id, approval, rules, updated_at) VALUES (app_tenant(), $1, $2, $3)
     ON CONFLICT (tenant_id) DO UPDATE
     SET approval = excluded.approval, rules = excluded.rules, updated_at = excluded.updated_at`,
    [settings.approval, JSON.stringify(settings.rules), new Date(atMs)],
  )
}
