import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Interval } from '../../../schemas/time/period.ts'
import type { PlanOfProduct } from '../products/product.ts'
import type { PlanListing } from './listing.ts'

/** From now on there is a row that can be locked. */
export async function keepListing(tx: TenantTransaction, planKey: string): Promise<void> {
  await tx.query(
    'INSERT INTO plan_listings (tenant_id, plan_key) VALUES (app_tenant(), $1) ON CONFLICT (tenant_id, plan_key) DO NOTHING',
    [planKey],
  )
}

/** Behind `keepListing`: until the end of the transaction nobody else changes it. */
export async function lockListing(tx: TenantTransaction, planKey: string): Promise<void> {
  await tx.query('SELECT 1 FROM plan_listings WHERE plan_key = $1 FOR UPDATE', [planKey])
}

/** Behind `lockListing`. */
export async function putListing(
  tx: TenantTransaction,
  planKey: string,
  productKey: string | null,
  archivedAtMs: number | null,
): Promise<void> {
  await tx.query(
    `UPDATE plan_listings SET product_id = (SELECT id FROM products WHERE key = $2), archived_at = $3 WHERE plan_key = $1`,
    [planKey, productKey, archivedAtMs === null ? null : new Date(archivedAtMs)],
  )
}

/** By the keys of plans; those of which nothing was said are left out. */
export async function listListings(
  tx: TenantTransaction,
  planKeys: readonly string[],
): Promise<Map<string, PlanListing>> {
  const { rows } = await tx.query<{
    plan_key: string
    product: string | null
    archived_at: Date | null
    product_archived_at: Date | null
  }>(
    `SELECT l.plan_key, p.key AS product, l.archived_at, p.archived_at AS product_archived_at
     FROM plan_listings l LEFT JOIN products p ON p.tenant_id = l.tenant_id AND p.id = l.product_id
     WHERE l.plan_key = ANY ($1::text[])`,
    [[...new Set(planKeys)]],
  )
  return new Map(
    rows.map((row) => [
      row.plan_key,
      {
        product: row.product,
        archivedAtMs: row.archived_at?.getTime() ?? null,
        productArchivedAtMs: row.product_archived_at?.getTime() ?? null,
      },
    ]),
  )
}

/** The plans of each product by its id, in the version in effect at a time: by currency, the shortest period first. */
export async function plansOfProducts(
  tx: TenantTransaction,
  productIds: readonly string[],
  atMs: number,
): Promise<Map<string, PlanOfProduct[]>> {
  const { rows } = await tx.query<PlanOfProductRow>(
    `SELECT l.product_id, p.key, p.version, p.name, p.currency, p.period_interval, p.period_every, p.kind, l.archived_at
     FROM plan_listings l
     JOIN plans p ON p.tenant_id = l.tenant_id AND p.key = l.plan_key AND p.base_plan_id IS NULL
     WHERE l.product_id = ANY ($1::uuid[])
       AND p.version = (SELECT max(v.version) FROM plans v
                        WHERE v.tenant_id = p.tenant_id AND v.key = p.key AND v.base_plan_id IS NULL
                          AND (v.effective_from IS NULL OR v.effective_from <= $2))
     ORDER BY p.currency, array_position(ARRAY['day', 'week', 'month', 'quarter', 'half_year', 'year'], p.period_interval),
       p.period_every, p.key COLLATE "C"`,
    [[...productIds], new Date(atMs)],
  )
  const plans = new Map<string, PlanOfProduct[]>(productIds.map((id) => [id, []]))
  for (const row of rows) plans.get(row.product_id)?.push(planFromRow(row))
  return plans
}

type PlanOfProductRow = {
  product_id: string
  key: string
  version: number
  name: string
  currency: string
  period_interval: Interval
  period_every: number
  kind: 'base' | 'add_on'
  archived_at: Date | null
}
function planFromRow(row: PlanOfProductRow): PlanOfProduct {
  return {
    key: row.key,
    version: row.version,
    name: row.name,
    currency: row.currency,
    interval: row.period_interval,
    every: row.period_every,
    kind: row.kind,
    archivedAtMs: row.archived_at?.getTime() ?? null,
  }
}
