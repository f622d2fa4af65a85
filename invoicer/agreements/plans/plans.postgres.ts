import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Interval } from '../../../schemas/time/period.ts'
import type { Page } from '../../transaction.ts'
import type { Alignment, Charge, FeeTime, Plan } from './plan.ts'
import { planHash } from './plan-hash.ts'

type PlanRow = {
  id: string
  key: string
  version: number
  name: string
  currency: string
  period_interval: Interval
  period_every: number
  alignment: Alignment
  grace_seconds: number
  proration_basis: Plan['prorationBasis']
  fees: FeeTime
  kind: 'base' | 'add_on'
  effective_from: Date | null
  content_hash: string | null
  base_plan_id: string | null
  agreed_for: string | null
  created_at: Date
  charges: Charge[]
}

const PLAN = `
  SELECT p.id, p.key, p.version, p.name, p.currency, p.period_interval, p.period_every, p.alignment, p.grace_seconds,
    p.proration_basis, p.fees, p.kind, p.effective_from, p.content_hash, p.base_plan_id, p.agreed_for, p.created_at,
    (SELECT jsonb_agg(jsonb_build_object('key', c.key, 'name', c.name, 'meter', c.meter, 'price', c.price)
                      || CASE WHEN c.attributes IS NULL THEN '{}' ELSE jsonb_build_object('attributes', c.attributes) END
                      || CASE WHEN c.quantity IS NULL THEN '{}' ELSE jsonb_build_object('quantity', c.quantity) END
                      || CASE WHEN c.tax_class IS NULL THEN '{}' ELSE jsonb_build_object('taxClass', c.tax_class) END
                      ORDER BY c.position)
     FROM plan_charges c WHERE c.tenant_id = p.tenant_id AND c.plan_id = p.id) AS charges
  FROM plans p`

/** Of the catalogue: private versions share key and number with the one that they were derived from. */
const CATALOGUE = 'p.base_plan_id IS NULL'

/** False if the version of the key is taken; waits for a transaction that is about to take it. */
export async function insertPlan(tx: TenantTransaction, plan: Plan): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO plans
       (tenant_id, id, key, version, effective_from, name, currency, period_interval, period_every, alignment,
        grace_seconds, proration_basis, fees, content_hash, created_at, base_plan_id, agreed_for, kind)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
     ON CONFLICT (tenant_id, key, version) WHERE base_plan_id IS NULL DO NOTHING`,
    [
      ...[plan.id, plan.key, plan.version, plan.effectiveFromMs === null ? null : new Date(plan.effectiveFromMs)],
      ...[plan.name, plan.currency, plan.interval, plan.every, plan.alignment],
      ...[plan.graceSeconds, plan.prorationBasis, plan.fees, plan.hash, new Date(plan.createdAtMs)],
      ...[plan.agreed?.baseId ?? null, plan.agreed?.customerId ?? null, plan.kind ?? 'base'],
    ],
  )
  return rowCount === 1
}

export async function insertCharges(tx: TenantTransaction, planId: string, charges: readonly Charge[]): Promise<void> {
  await tx.query(
    `INSERT INTO plan_charges (tenant_id, plan_id, position, key, name, meter, price, quantity, tax_class, attributes)
     SELECT app_tenant(), $1, c.position - 1, c.key, c.name, c.meter, c.price::jsonb, c.quantity::jsonb, c.tax_class,
       (SELECT array_agg(a.name ORDER BY a.place)
        FROM jsonb_array_elements_text(c.attributes::jsonb) WITH ORDINALITY AS a (name, place))
     FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
       WITH ORDINALITY AS c (key, name, meter, price, quantity, attributes, tax_class, position)`,
    [
      planId,
      charges.map((charge) => charge.key),
      charges.map((charge) => charge.name),
      charges.map((charge) => charge.meter),
      charges.map((charge) => JSON.stringify(charge.price)),
      charges.map(({ quantity }) => (quantity === undefined ? null : JSON.stringify(quantity))),
      charges.map((charge) => JSON.stringify(charge.attributes ?? [])),
      charges.map(({ taxClass = null }) => taxClass),
    ],
  )
}

/** How those of the named meters that exist aggregate. They are not archived before the transaction ends. */
export async function existingMeters(tx: TenantTransaction, slugs: readonly string[]): Promise<Map<string, string>> {
  const { rows } = await tx.query<{ slug: string; aggregation: string }>(
    'SELECT slug, aggregation FROM meters WHERE slug = ANY ($1::text[]) AND archived_at IS NULL FOR KEY SHARE',
    [slugs],
  )
  return new Map(rows.map((row) => [row.slug, row.aggregation]))
}

export async function findPlan(tx: TenantTransaction, key: string, version: number): Promise<Plan | undefined> {
  const { rows } = await tx.query<PlanRow>(`${PLAN} WHERE ${CATALOGUE} AND p.key = $1 AND p.version = $2`, [
    key,
    version,
  ])
  return rows.map(fromRow)[0]
}

/**
 * The version of a plan that whoever begins with it at a time takes: a new subscription at its start, a change of plan at
 * the time of the change. Later versions take effect no earlier than those before them.
 */
export async function effectivePlan(tx: TenantTransaction, key: string, atMs: number): Promise<Plan | undefined> {
  const { rows } = await tx.query<PlanRow>(
    `${PLAN} WHERE ${CATALOGUE} AND p.key = $1
       AND (p.effective_from IS NULL OR p.effective_from <= $2) ORDER BY p.version DESC LIMIT 1`,
    [key, new Date(atMs)],
  )
  return rows.map(fromRow)[0]
}

export async function findLatestPlan(tx: TenantTransaction, key: string): Promise<Plan | undefined> {
  const { rows } = await tx.query<PlanRow>(
    `${PLAN} WHERE ${CATALOGUE} AND p.key = $1 ORDER BY p.version DESC LIMIT 1`,
    [key],
  )
  return rows.map(fromRow)[0]
}

export async function listVersions(tx: TenantTransaction, key: string): Promise<Plan[]> {
  const { rows } = await tx.query<PlanRow>(`${PLAN} WHERE ${CATALOGUE} AND p.key = $1 ORDER BY p.version`, [key])
  return rows.map(fromRow)
}

export async function findPlans(tx: TenantTransaction, ids: readonly string[]): Promise<Plan[]> {
  const { rows } = await tx.query<PlanRow>(`${PLAN} WHERE p.id = ANY ($1::uuid[])`, [ids])
  return rows.map(fromRow)
}

/** Of each plan, or of each of a product, the version in effect at a time. */
export async function listPlans(
  tx: TenantTransaction,
  atMs: number,
  page: Page,
  productId: string | null,
): Promise<Plan[]> {
  const { rows } = await tx.query<PlanRow>(
    `${PLAN}
     WHERE ${CATALOGUE} AND ($1::uuid IS NULL OR p.id > $1)
       AND p.version = (SELECT max(v.version) FROM plans v
                        WHERE v.tenant_id = p.tenant_id AND v.key = p.key AND v.base_plan_id IS NULL
                          AND (v.effective_from IS NULL OR v.effective_from <= $3))
       AND ($4::uuid IS NULL OR EXISTS (SELECT 1 FROM plan_listings l
                                        WHERE l.tenant_id = p.tenant_id AND l.plan_key = p.key AND l.product_id = $4))
     ORDER BY p.id LIMIT $2`,
    [page.after, page.limit, new Date(atMs), productId],
  )
  return rows.map(fromRow)
}

function fromRow(row: PlanRow): Plan {
  const content = {
    name: row.name,
    currency: row.currency,
    interval: row.period_interval,
    every: row.period_every,
    alignment: row.alignment,
    graceSeconds: row.grace_seconds,
    prorationBasis: row.proration_basis,
    fees: row.fees,
    ...(row.kind === 'add_on' ? { kind: row.kind } : {}),
    charges: row.charges,
  }
  return {
    ...content,
    id: row.id,
    key: row.key,
    version: row.version,
    effectiveFromMs: row.effective_from?.getTime() ?? null,
    hash: row.content_hash ?? planHash(content),
    ...(row.base_plan_id === null || row.agreed_for === null
      ? {}
      : { agreed: { baseId: row.base_plan_id, customerId: row.agreed_for } }),
    createdAtMs: row.created_at.getTime(),
  }
}
