import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { holdUncollected, withdrawUnsent } from './payments.postgres.ts'

/**
 * Ends the attempts of a cancelled run that were never sent: their invoices can then be voided or credited, and `collect` makes
 * new attempts. It has a transaction of its own behind the cancellation, which holds the run alone: with the invoices too it
 * could wait for a runner that waits for it. Whoever dies between both leaves attempts; cancelling again withdraws them. Where
 * charging was asked for meanwhile nothing is withdrawn. Again changes nothing.
 */
export async function withdrawAttempts(tx: TenantTransaction, runId: string, means: Means): Promise<void> {
  if (!(await holdUncollected(tx, runId))) return
  const withdrawn = await withdrawUnsent(tx, runId)
  const events = withdrawn.map(({ id, gateway, ...ids }) => {
    return {
      id: means.newId(),
      event: 'payment.withdrawn' as const,
      billingRunId: runId,
      ...ids,
      data: { payment_id: id, gateway },
    }
  })
  await insertBillingEvents(tx, events, means.now())
}
