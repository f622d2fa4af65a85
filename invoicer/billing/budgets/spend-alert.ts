import { formatMoney } from '../../../schemas/money.ts'

/** The topic of webhooks. */
export const SPEND_THRESHOLD_REACHED = 'spend.threshold_reached'

/** A level of a budget that the spend of a billing period reached. */
export type SpendAlert = {
  id: string
  subscriptionId: string
  subscriptionKey: string
  customerId: string
  customerKey: string
  level: string
  budgetMinor: bigint
  spentMinor: bigint
  currency: string
  periodStartMs: number
  periodEndMs: number
  firedAtMs: number
}

/** What is told of it, at the door and by webhooks. */
export type SpendAlertAnswer = {
  id: string
  subscription_id: string
  subscription: string
  customer: string
  level: string
  budget: string
  spent: string
  currency: string
  period_start: string
  period_end: string
  fired_at: string
}

export function alertAnswer(alert: SpendAlert): SpendAlertAnswer {
  return {
    id: alert.id,
    subscription_id: alert.subscriptionId,
    subscription: alert.subscriptionKey,
    customer: alert.customerKey,
    level: alert.level,
    budget: formatMoney(alert.budgetMinor, alert.currency),
    spent: formatMoney(alert.spentMinor, alert.currency),
    currency: alert.currency,
    period_start: new Date(alert.periodStartMs).toISOString(),
    period_end: new Date(alert.periodEndMs).toISOString(),
    fired_at: new Date(alert.firedAtMs).toISOString(),
  }
}

/** The text that webhooks sign and send: type, timestamp and data, as every topic has them. */
export function webhookPayload(alert: SpendAlert): string {
  const timestamp = new Date(alert.firedAtMs).toISOString()
  return JSON.stringify({ type: SPEND_THRESHOLD_REACHED, timestamp, data: alertAnswer(alert) })
}
