import { formatMoney } from '../../../schemas/money.ts'
import { checkSamePayer, type OncePaid } from '../former-payer.ts'
import { checkDraft, type Draft, type Line, untaxedDraft } from '../lines.ts'
import type { LineTerms } from '../tax/tax.ts'
import type { Span } from '../unused.ts'

/**
 * What the latest progressive invoice of a period brought a charge to, from its first unit on: the earlier ones are inside
 * it. `grossMinor` before discounts, `netMinor` behind them.
 */
export type BilledProgress = {
  invoiceId: string
  planId: string
  chargeKey: string
  meter: string
  description: string
  /** Where the billing period starts, and what the charge was served for. */
  periodStartMs: number
  served: Span
  grossMinor: bigint
  netMinor: bigint
  tax: LineTerms | null
  sellerId: string | null
} & OncePaid
/** What progressive invoices of the period billed of the charge by then, behind discounts; `amount` is that below 0. */
export type ProgressEntry = { type: 'progressive'; billed: string; invoice_id: string; amount: string }

/** Those of a period. */
export function progressOf(progress: readonly BilledProgress[] | undefined, { startMs }: Span): BilledProgress[] {
  return (progress ?? []).filter(({ periodStartMs }) => periodStartMs === startMs)
}

/**
 * A draft of a period, which has its charges from the first unit on, less what progressive invoices billed of them: a line
 * below 0 for each charge behind the others, by the terms and the seller that it was billed with. So whatever an invoice of
 * the period adds is price(all) − Σ billed, flat amounts, discounts and tax included.
 * @throws Problem as `draftShares`; illegal_state where who paid them does not pay any more.
 */
export function lessProgress(
  draft: Draft,
  progress: readonly BilledProgress[] | undefined,
  period: Span,
  currency: string,
): Draft {
  const billed = progressOf(progress, period).filter(({ netMinor }) => netMinor !== 0n)
  if (billed.length === 0) return draft
  checkSamePayer(billed, 'Progressive usage')
  const lines = billed.map((one) => lessLine(one, currency))
  const answer = untaxedDraft([...draft.lines, ...lines])
  checkDraft(answer)
  return answer
}

function lessLine({ invoiceId, netMinor, tax, sellerId, ...billed }: BilledProgress, currency: string): Line {
  const { planId, chargeKey, meter, description, served: period } = billed
  const money = (minor: bigint) => formatMoney(minor, currency)
  const entry: ProgressEntry = {
    type: 'progressive',
    billed: money(netMinor),
    invoice_id: invoiceId,
    amount: money(-netMinor),
  }
  return {
    ...{ planId, chargeKey, meter, period, usage: null, amountMinor: -netMinor, breakdown: [entry] },
    description: `${description} (less what was billed in the period)`,
    tax: tax && { ...tax, amountMinor: 0n },
    ...(sellerId === null ? {} : { correctsOf: sellerId }),
  }
}
