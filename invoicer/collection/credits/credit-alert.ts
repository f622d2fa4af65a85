import { formatMoney } from '../../../schemas/money.ts'

/** The topic of webhooks. */
export const CREDIT_THRESHOLD_REACHED = 'credit.threshold_reached'

/** A level of a customer's credit that was reached in the fill that a grant began. */
export type CreditAlert = {
  id: string
  customerId: string
  customerKey: string
  grantId: string
  level: string
  baseMinor: bigint
  usedMinor: bigint
  availableMinor: bigint
  currency: string
  firedAtMs: number
}

/** What is told of it, at the door and by webhooks. */
export type CreditAlertAnswer = {
  id: string
  customer: string
  level: string
  base: string
  used: string
  available: string
  currency: string
  fired_at: string
}

export function creditAlertAnswer(alert: CreditAlert): CreditAlertAnswer {
  const { id, customerKey, level, currency, firedAtMs } = alert
  return {
    id,
    customer: customerKey,
    level,
    base: formatMoney(alert.baseMinor, currency),
    used: formatMoney(alert.usedMinor, currency),
    available: formatMoney(alert.availableMinor, currency),
    currency,
    fired_at: new Date(firedAtMs).toISOString(),
  }
}

/** The text that webhooks sign and send: type, timestamp and data, as every topic has them. */
export function creditPayload(alert: CreditAlert): string {
  const timestamp = new Date(alert.firedAtMs).toISOString()
  return JSON.stringify({ type: CREDIT_THRESHOLD_REACHED, timestamp, data: creditAlertAnswer(alert) })
}
