import type { Pool } from 'pg'
import type { Reader } from '../../../schemas/http/door.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { visibleSubjects } from '../../../schemas/postgres/visible.postgres.ts'
import type { AlertAnswer } from './alert.ts'
import { type AlertsAsked, listAlerts } from './alerts.postgres.ts'

/** Alerts that the caller may see. What subjects share is told to their customer's key, and not to single subjects. */
export async function readAlerts(pool: Pool, { tenantId, scope }: Reader, asked: AlertsAsked): Promise<AlertAnswer[]> {
  return withTenant(pool, tenantId, async (tx) => {
    const customer = scope === 'everything' ? undefined : 'customer' in scope ? scope.customer : null
    return listAlerts(tx, asked, await visibleSubjects(tx, scope), customer)
  })
}
