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
  effective_from: Date | null
  content_hash: string | null
  created_at: Date
  charges: Charge[]
}

const PLAN = `
  SELECT p.id, p.key, p.version, p.name, p.currency, p.period_interval, p.period_every, p.alignment, p.grace_seconds,
    p.proration_basis, p.fees, p.effective_from, p.content_hash, p.created_at,
    (SELECT jsonb_agg(jsonb_build_object('key', c.key, 'name', c.name, 'meter', c.meter, 'price', c.price)
                      || CASE WHEN c.attributes IS NULL THEN '{}' ELSE jsonb_build_object('attributes', c.attributes) END
                      ORDER BY c.position)
     FROM plan_charges c WHERE c.tenant_id = p.tenant_id AND c.plan_id = p.id) AS charges
  FROM plans p`

/** False if the version of the key is taken; waits for a transaction that is about to take it. */
export async function insertPlan(tx: TenantTransaction, plan: Plan): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO plans
       (tenant_id, id, key, version, effective_from, name, currency, period_interval, period_every, alignment,
        grace_seconds, proration_basis, fees, content_hash, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
     ON CONFLICT (tenant_id, key, version) DO NOTHING`,
    [
      ...[plan.id, plan.key, plan.version, plan.effectiveFromMs === null ? null : new Date(plan.effectiveFromMs)],
      ...[plan.name, plan.currency, plan.interval, plan.every, plan.alignment],
      ...[plan.graceSeconds, plan.prorationBasis, plan.fees, plan.hash, new Date(plan.createdAtMs)],
    ],
  )
  return rowCount === 1
}

export async function insertCharges(tx: TenantTransaction, planId: string, charges: readonly Charge[]): Promise<void> {
  await tx.query(
    `INSERT INTO plan_charges (tenant_id, plan_id, position, key, name, meter, price, attributes)
     SELECT app_tenant(), $1, c.position - 1, c.key, c.name, c.meter, c.price::jsonb,
       (SELECT array_agg(a.name ORDER BY a.place)
        FROM jsonb_array_elements_text(c.attributes::jsonb) WITH ORDINALITY AS a (name, place))
     FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
       WITH ORDINALITY AS c (key, name, meter, price, attributes, position)`,
    [
      planId,
      charges.map((charge) => charge.key),
      charges.map((charge) => charge.name),
      charges.map((charge) => charge.meter),
      charges.map((charge) => JSON.stringify(charge.price)),
      charges.map((charge) => JSON.stringify(charge.attributes ?? [])),
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
  const { rows } = await tx.query<PlanRow>(`${PLAN} WHERE p.key = $1 AND p.version = $2`, [key, version])
  return rows.map(fromRow)[0]
}

/**
 * The version of a plan that whoever begins with it at a time takes: a new subscription at its start, a change of plan at
 * the time of the change. Later versions take effect no earlier than those before them.
 */
export async function effectivePlan(tx: TenantTransaction, key: string, atMs: number): Promise<Plan | undefined> {
  const { rows } = await tx.query<PlanRow>(
    `${PLAN} WHERE p.key = $1 AND (p.effective_from IS NULL OR p.effective_from <= $2) ORDER BY p.version DESC LIMIT 1`,
    [key, new Date(atMs)],
  )
  return rows.map(fromRow)[0]
}

export async function findLatestPlan(tx: TenantTransaction, key: string): Promise<Plan | undefined> {
  const { rows } = await tx.query<PlanRow>(`${PLAN} WHERE p.key = $1 ORDER BY p.version DESC LIMIT 1`, [key])
  return rows.map(fromRow)[0]
}

export async function listVersions(tx: TenantTransaction, key: string): Promise<Plan[]> {
  const { rows } = await tx.query<PlanRow>(`${PLAN} WHERE p.key = $1 ORDER BY p.version`, [key])
  return rows.map(fromRow)
}

export async function findPlans(tx: TenantTransaction, ids: readonly string[]): Promise<Plan[]> {
  const { rows } = await tx.query<PlanRow>(`${PLAN} WHERE p.id = ANY ($1::uuid[])`, [ids])
  return rows.map(fromRow)
}

/** Of each plan the version in effect at a time. */
export async function listPlans(tx: TenantTransaction, atMs: number, page: Page): Promise<Plan[]> {
  const { rows } = await tx.query<PlanRow>(
    `${PLAN}
     WHERE ($1::uuid IS NULL OR p.id > $1)
       AND p.version = (SELECT max(v.version) FROM plans v
                        WHERE v.tenant_id = p.tenant_id AND v.key = p.key
                          AND (v.effective_from IS NULL OR v.effective_from <= $3))
     ORDER BY p.id LIMIT $2`,
    [page.after, page.limit, new Date(atMs)],
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
    charges: row.charges,
  }
  return {
    ...content,
    id: row.id,
    key: row.key,
    version: row.version,
    effectiveFromMs: row.effective_from?.getTime() ?? null,
    hash: row.content_hash ?? planHash(content),
    createdAtMs: row.created_at.getTime(),
  }
}
