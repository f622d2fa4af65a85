import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Interval } from '../../../schemas/time/period.ts'
import type { Page } from '../../transaction.ts'
import type { Alignment, Charge, Plan } from './plan.ts'

type PlanRow = {
  id: string
  key: string
  name: string
  currency: string
  period_interval: Interval
  alignment: Alignment
  grace_seconds: number
  created_at: Date
  charges: Charge[]
}

const PLAN = `
  SELECT p.id, p.key, p.name, p.currency, p.period_interval, p.alignment, p.grace_seconds, p.created_at,
    (SELECT jsonb_agg(jsonb_build_object('key', c.key, 'name', c.name, 'meter', c.meter, 'price', c.price)
                      ORDER BY c.position)
     FROM plan_charges c WHERE c.tenant_id = p.tenant_id AND c.plan_id = p.id) AS charges
  FROM plans p`

/** False if the key is taken; waits for a transaction that is about to take it. */
export async function insertPlan(tx: TenantTransaction, plan: Plan): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO plans
       (tenant_id, id, key, name, currency, period_interval, alignment, grace_seconds, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (tenant_id, key) DO NOTHING`,
    [
      plan.id,
      plan.key,
      plan.name,
      plan.currency,
      plan.interval,
      plan.alignment,
      plan.graceSeconds,
      new Date(plan.createdAtMs),
    ],
  )
  return rowCount === 1
}

export async function insertCharges(tx: TenantTransaction, planId: string, charges: readonly Charge[]): Promise<void> {
  await tx.query(
    `INSERT INTO plan_charges (tenant_id, plan_id, position, key, name, meter, price)
     SELECT app_tenant(), $1, c.position - 1, c.key, c.name, c.meter, c.price::jsonb
     FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
       WITH ORDINALITY AS c (key, name, meter, price, position)`,
    [
      planId,
      charges.map((charge) => charge.key),
      charges.map((charge) => charge.name),
      charges.map((charge) => charge.meter),
      charges.map((charge) => JSON.stringify(charge.price)),
    ],
  )
}

/** Those of the named meters that exist. They are not archived before the transaction ends. */
export async function existingMeters(tx: TenantTransaction, slugs: readonly string[]): Promise<Set<string>> {
  const { rows } = await tx.query<{ slug: string }>(
    'SELECT slug FROM meters WHERE slug = ANY ($1::text[]) AND archived_at IS NULL FOR KEY SHARE',
    [slugs],
  )
  return new Set(rows.map((row) => row.slug))
}

export async function findPlan(tx: TenantTransaction, key: string): Promise<Plan | undefined> {
  const { rows } = await tx.query<PlanRow>(`${PLAN} WHERE p.key = $1`, [key])
  return rows.map(fromRow)[0]
}

export async function findPlans(tx: TenantTransaction, ids: readonly string[]): Promise<Plan[]> {
  const { rows } = await tx.query<PlanRow>(`${PLAN} WHERE p.id = ANY ($1::uuid[])`, [ids])
  return rows.map(fromRow)
}

export async function listPlans(tx: TenantTransaction, page: Page): Promise<Plan[]> {
  const { rows } = await tx.query<PlanRow>(`${PLAN} WHERE $1::uuid IS NULL OR p.id > $1 ORDER BY p.id LIMIT $2`, [
    page.after,
    page.limit,
  ])
  return rows.map(fromRow)
}

function fromRow(row: PlanRow): Plan {
  return {
    id: row.id,
    key: row.key,
    name: row.name,
    currency: row.currency,
    interval: row.period_interval,
    alignment: row.alignment,
    graceSeconds: row.grace_seconds,
    charges: row.charges,
    createdAtMs: row.created_at.getTime(),
  }
}
