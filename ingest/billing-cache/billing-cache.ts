import type { TenantId } from '../../schemas/http/door.ts'

/** A text is kept so long after it was put; then it is none. */
export const KEPT_MS = 24 * 3_600_000

/**
 * What was last read of organizations and users, for when Postgres is away (HC-5: `billing_cache:{org_id}`, 24 h).
 * Losing it costs nothing but answers during that time.
 */
export type BillingCache = {
  /** In place of what was kept under the name before. */
  put(tenant: TenantId, name: string, text: string): Promise<void>
  get(tenant: TenantId, name: string): Promise<string | undefined>
}
