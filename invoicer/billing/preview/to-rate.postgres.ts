import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull } from '../../transaction.ts'
import type { ToRate } from '../due.ts'
import { TO_RATE, type ToRateRow, toRateFromRow } from '../run/due.postgres.ts'

const SUBSCRIPTION = `
  SELECT ${TO_RATE} FROM subscriptions s
  JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = s.plan_id
  JOIN customers c ON c.tenant_id = s.tenant_id AND c.id = s.customer_id`

/** An id wins over an external key that looks like one. */
export async function findToRate(tx: TenantTransaction, idOrKey: string): Promise<ToRate | undefined> {
  const { rows } = await tx.query<ToRateRow>(
    `${SUBSCRIPTION} WHERE s.id = $1::uuid OR s.external_key = $2 ORDER BY s.id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  return rows.map(toRateFromRow)[0]
}

export async function listToRate(tx: TenantTransaction, ids: readonly string[]): Promise<ToRate[]> {
  const { rows } = await tx.query<ToRateRow>(`${SUBSCRIPTION} WHERE s.id = ANY ($1::uuid[])`, [ids])
  return rows.map(toRateFromRow)
}
