import type { TenantId } from '../../../schemas/http/door.ts'
import type { Means, Transact } from '../../transaction.ts'
import type { Gateway } from '../payments/gateway.ts'
import { chargePurchases } from '../top-ups/charge-purchases.ts'
import { expireCredit, expiredBeforeMs } from './expire-credit.ts'
import type { Chore } from './keep-doing.ts'
import { renewSome } from './renew-some.ts'

type ChoresDeps = Means & {
  transact: Transact
  gateway: Gateway
  tenantsToCharge: (atMs: number) => Promise<TenantId[]>
  tenantsToRenew: (atMs: number) => Promise<TenantId[]>
  tenantsToExpire: (atMs: number) => Promise<TenantId[]>
}

/** What prepaid credit needs by itself: first what comes, then what goes, then what is bought. */
export function creditChores(deps: ChoresDeps): Chore[] {
  return [
    {
      tenantsDue: deps.tenantsToRenew,
      work: (tenantId, failed) => renewSome(deps, tenantId, deps.now(), failed),
      trouble: {
        event: 'credit_renewal_failed',
        message: 'credit that is due could not be given; it is tried again in a minute',
      },
    },
    {
      tenantsDue: (nowMs) => deps.tenantsToExpire(expiredBeforeMs(nowMs)),
      work: (tenantId) => deps.transact(tenantId, (tx) => expireCredit(tx, deps)),
      trouble: {
        event: 'credit_expiry_failed',
        message: 'expired credit could not be taken off; it is tried again in a minute',
      },
    },
    {
      tenantsDue: deps.tenantsToCharge,
      work: (tenantId, failed) => chargePurchases(deps, tenantId, failed),
      trouble: {
        event: 'credit_purchase_failed',
        message: 'credit could not be bought; it is tried again in a minute, under the same key',
      },
    },
  ]
}
