import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { Transact } from '../../transaction.ts'
import type { ToRate } from '../due.ts'
import { isOfSeveralPeriods } from '../rating/bounds.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { planIdsOf } from '../shares.ts'
import { listDraws, type StoredDraw } from './draws.postgres.ts'

/**
 * Subscriptions with what they drew of commitments of several periods; those without such a price as they are, and without
 * any nothing is read. What is known to have been drawn stays.
 */
export async function withDraws<S extends ToRate>(
  transact: Transact,
  tenantId: TenantId,
  subscriptions: readonly S[],
  planOf: PlanOf,
): Promise<readonly S[]> {
  const ids = subscriptions.filter((one) => one.draws === undefined && hasCommitments(one, planOf)).map(({ id }) => id)
  if (ids.length === 0) return subscriptions
  const drawing = new Set(ids)
  const drawsOf = drawsBySubscription(await transact(tenantId, (tx) => listDraws(tx, ids)))
  return subscriptions.map((one) => (drawing.has(one.id) ? { ...one, draws: drawsOf.get(one.id) ?? [] } : one))
}

/** In their order; a subscription that drew nothing is left out. */
export function drawsBySubscription(draws: readonly StoredDraw[]): Map<string, StoredDraw[]> {
  const drawsOf = new Map<string, StoredDraw[]>()
  for (const draw of draws) {
    const together = drawsOf.get(draw.subscriptionId)
    if (together) together.push(draw)
    else drawsOf.set(draw.subscriptionId, [draw])
  }
  return drawsOf
}

function hasCommitments(subscription: ToRate, planOf: PlanOf): boolean {
  return planIdsOf(subscription).some((id) => {
    const plan = planOf(id)
    return !(plan instanceof Problem) && plan.charges.some(({ price }) => isOfSeveralPeriods(price))
  })
}
