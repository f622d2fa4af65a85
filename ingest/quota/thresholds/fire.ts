import type { Pool } from 'pg'
import { v7 as newId } from 'uuid'
import type { TenantId } from '../../../schemas/http/door.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { queueDeliveries } from '../../webhooks/deliveries.postgres.ts'
import { messageOf } from '../../webhooks/message.ts'
import { counterId } from '../quota-store.ts'
import { toldWithin } from '../rolling.ts'
import { type AlertAnswer, answerOf, type Reached, THRESHOLD_REACHED } from './alert.ts'
import { customerKeys, insertAlerts } from './alerts.postgres.ts'

/**
 * Tells of levels that nobody told of before, each once in a window whoever comes first; answers these. Alert and
 * deliveries are one transaction: a crash leaves both or none, and then the level is found again.
 */
export async function fireAlerts(
  { pool, now }: { pool: Pool; now: () => number },
  tenant: TenantId,
  reached: readonly Reached[],
): Promise<AlertAnswer[]> {
  const firedAtMs = now()
  // In one order everywhere: processes that tell of the same levels wait for each other, and never in a circle.
  const sorted = reached.toSorted((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1))
  // Ids in the order of the levels: the list of alerts and the deliveries follow it.
  const ids = sorted.map(() => newId()).sort()
  const alerts = sorted.map((one, place) => ({ ...one, id: ids[place] ?? newId() }))
  return withTenant(pool, tenant, async (tx) => {
    const fresh = await insertAlerts(tx, alerts, new Date(firedAtMs))
    const fired = alerts.filter(({ id }) => fresh.has(id))
    const shared = fired.flatMap(({ counter }) => (counter.ofCustomer ? [counter.subject] : []))
    const keys = await customerKeys(tx, [...new Set(shared)])
    const answers = fired.map((one) => {
      return answerOf(one.id, one, (one.counter.ofCustomer && keys.get(one.counter.subject)) || null, firedAtMs)
    })
    const messages = answers.map((data) => messageOf(data.id, THRESHOLD_REACHED, firedAtMs, data))
    if (messages.length > 0) await queueDeliveries(tx, messages, new Date(firedAtMs))
    return answers
  })
}

/** A text that orders by what is told once, whichever buckets of a rolling limit tell it: counter, then limit, then level. */
function orderOf({ counter, limit, level }: Reached): string {
  return `${counterId({ ...counter, ...toldWithin(counter) })}\n${limit.feature}\n${String(level.micro).padStart(60, '0')}`
}
