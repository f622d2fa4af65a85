import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Plan } from '../plans/plan.ts'
import { findPlans } from '../plans/plans.postgres.ts'

/** Private versions of a customer, derived from a version of the catalogue, with content of that hash. */
export async function findPrivatePlans(
  tx: TenantTransaction,
  { baseId, customerId }: NonNullable<Plan['agreed']>,
  hash: string,
): Promise<Plan[]> {
  const { rows } = await tx.query<{ id: string }>(
    `SELECT id FROM plans WHERE agreed_for = $1 AND base_plan_id = $2 AND content_hash = $3 ORDER BY id`,
    [customerId, baseId, hash],
  )
  return rows.length === 0
    ? []
    : findPlans(
        tx,
        rows.map(({ id }) => id),
      )
}
