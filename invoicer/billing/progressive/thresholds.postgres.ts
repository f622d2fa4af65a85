import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull } from '../../transaction.ts'

/** From which difference on the running period of a subscription has an invoice, in minor units of its currency. */
export type StoredThreshold = { subscriptionId: string; thresholdMinor: bigint; currency: string; updatedAtMs: number }

/** In place of the one before. */
export async function storeThreshold(tx: TenantTransaction, one: Omit<StoredThreshold, 'currency'>): Promise<void> {
  await tx.query(
    `INSERT INTO progressive_billing (tenant_id, subscription_id, threshold_minor, updated_at)
     VALUES (app_tenant(), $1, $2, $3)
     ON CONFLICT (tenant_id, subscription_id) DO UPDATE
     SET threshold_minor = excluded.threshold_minor, updated_at = excluded.updated_at`,
    [one.subscriptionId, one.thresholdMinor, new Date(one.updatedAtMs)],
  )
}

/** An id wins over an external key that looks like one. */
export async function findThreshold(tx: TenantTransaction, idOrKey: string): Promise<StoredThreshold | undefined> {
  const { rows } = await tx.query<{ id: string; currency: string; threshold_minor: string | null; updated_at: Date }>(
    `SELECT s.id, p.currency, g.threshold_minor, g.updated_at FROM subscriptions s
     JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = s.plan_id
     LEFT JOIN progressive_billing g ON g.tenant_id = s.tenant_id AND g.subscription_id = s.id
     WHERE s.id = $1::uuid OR s.external_key = $2 ORDER BY s.id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  return rows.flatMap(({ id: subscriptionId, currency, threshold_minor: minor, updated_at: at }) =>
    minor === null ? [] : [{ subscriptionId, currency, thresholdMinor: BigInt(minor), updatedAtMs: at.getTime() }],
  )[0]
}

/** False if there was none. */
export async function deleteThreshold(tx: TenantTransaction, subscriptionId: string): Promise<boolean> {
  const { rowCount } = await tx.query('DELETE FROM progressive_billing WHERE subscription_id = $1', [subscriptionId])
  return rowCount === 1
}
