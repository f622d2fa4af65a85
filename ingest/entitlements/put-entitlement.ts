import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseQuantity } from '../../schemas/quantity.ts'
import { requireLimitable } from '../quota/put-limit.ts'
import { type Entitlement, type EntitlementKey, faultOfValue, withDefaults } from './entitlement.ts'
import { countOthers, removeEntitlement, storeEntitlement } from './entitlements.postgres.ts'

/** An event is asked about each limit of its subject. */
const MOST_OF_HOLDER = 200

export type EntitlementDeps = { pool: Pool; now: () => number }

/** Stores an entitlement, which holds from the next event on: usage of the window so far counts. Answers what is stored. */
export async function putEntitlement(
  { pool, now }: EntitlementDeps,
  tenant: TenantId,
  key: EntitlementKey,
  given: Entitlement,
): Promise<Entitlement> {
  const entitlement = normalForm(given)
  await withTenant(pool, tenant, async (tx) => {
    if (entitlement.type === 'metered') await requireLimitable(tx, entitlement.meter)
    const others = await countOthers(tx, key)
    if (others >= MOST_OF_HOLDER)
      throw new Problem(
        'conflict',
        `The ${key.holderKind} ${key.holder} has ${others} entitlements, which is the most.`,
      )
    await storeEntitlement(tx, key, entitlement, new Date(now()))
  })
  return entitlement
}

function normalForm(given: Entitlement): Entitlement {
  if (given.type === 'metered') return { ...withDefaults(given), limit: formatQuantity(parseQuantity(given.limit)) }
  const message = given.type === 'static' ? faultOfValue(given.value) : undefined
  if (message !== undefined)
    throw new Problem('invalid_request', `value ${message}.`, { errors: [{ path: 'value', message }] })
  return given
}

/** Takes an entitlement away: what stands behind it, of a customer or a plan, holds then. */
export async function deleteEntitlement(
  { pool }: EntitlementDeps,
  tenant: TenantId,
  key: EntitlementKey,
): Promise<void> {
  const removed = await withTenant(pool, tenant, (tx) => removeEntitlement(tx, key))
  if (removed) return
  const { holderKind, holder, feature } = key
  throw new Problem('not_found', `The ${holderKind} ${holder} has no entitlement ${feature}`)
}
