import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { windowStarts } from '../../../schemas/time/period.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { countGrants } from '../credits/standing.postgres.ts'
import type { Gateway } from '../payments/gateway.ts'
import { countPurchases, insertPurchase } from './purchases.postgres.ts'
import { type LockedRule, lockRules } from './rules.postgres.ts'
import type { Purchase } from './top-up.ts'

/** What a customer has available, as its levels are told by, and of how many grants that is: those that it ever had. */
export type Available = { customerId: string; availableMinor: bigint; grants: number }

/**
 * Opens a purchase for each customer that has less than its rule says, unless one is open, it has had as many as it may
 * have in its day, week or month, it waits after a decline, or somebody else pays for it by now. The rules are locked: who
 * comes at once waits, and finds the purchase. Who was given credit since `low` was read, as by a purchase that was paid
 * meanwhile, is left to the next look, which counts that. The gateway is asked behind this transaction.
 */
export async function openPurchases(
  tx: TenantTransaction,
  means: Means,
  gateway: Gateway['name'],
  low: readonly Available[],
  atMs: number,
): Promise<number> {
  const seenOf = new Map(low.map((seen) => [seen.customerId, seen]))
  const rules = (await lockRules(tx, [...seenOf.keys()])).filter((rule) => mayBuy(rule, seenOf, atMs))
  if (rules.length === 0) return 0
  const since = rules.map(({ customerId, per, zone }) => {
    return { customerId, fromMs: windowStarts(atMs, atMs + 1, per, zone)[0] ?? atMs }
  })
  const counts = await countPurchases(tx, since)
  const customers = rules.map(({ customerId }) => customerId)
  const grantsOf = await countGrants(tx, customers)
  let opened = 0
  for (const rule of rules) {
    const { customerId, currency, amountMinor, priority, expiresAfterDays, scope } = rule
    if ((counts.get(customerId) ?? 0) >= rule.mostPurchases) continue
    const { availableMinor, grants } = seenOf.get(customerId) ?? { availableMinor: 0n, grants: 0 }
    if ((grantsOf.get(customerId) ?? 0) !== grants) continue
    const content = { customerId, currency, amountMinor, priority, expiresAfterDays, scope, availableMinor, gateway }
    const open = { state: 'created', reference: null, reason: null, createdAtMs: atMs, settledAtMs: null } as const
    const purchase: Purchase = { ...content, ...open, id: means.newId(), externalKey: null, invoiceId: null }
    if (!(await insertPurchase(tx, purchase))) continue
    opened += 1
    const [amount, available] = [amountMinor, availableMinor].map((minor) => formatMoney(minor, currency))
    const data = { purchase_id: purchase.id, amount, available, currency, gateway }
    await insertBillingEvents(tx, [{ id: means.newId(), event: 'credit.top_up_opened', customerId, data }], atMs)
  }
  return opened
}

function mayBuy(rule: LockedRule, seenOf: ReadonlyMap<string, Available>, atMs: number): boolean {
  const { customerId, thresholdMinor, suspendedAtMs, retryAtMs, isPaidFor } = rule
  if (isPaidFor) return false
  const availableMinor = seenOf.get(customerId)?.availableMinor
  if (availableMinor === undefined || availableMinor >= thresholdMinor) return false
  return suspendedAtMs === null && (retryAtMs === null || retryAtMs <= atMs)
}
