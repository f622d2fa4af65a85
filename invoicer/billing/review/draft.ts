import type { RatedChunk } from '../run/rate-chunk.ts'
import type { Anomaly } from './rules.ts'

/**
 * What a run would do: issue an invoice, park a subscription, or miss one that was billed before. `previousMinor` is the
 * total of the period before; null where there is none, and of what stands beside the periods.
 */
export type RunDraft = {
  kind: 'invoice' | 'parked' | 'missing'
  subscriptionId: string
  customerId: string
  currency: string
  periodStartMs: number
  periodEndMs: number | null
  offCycle: boolean
  lineCount: number
  amountMinor: bigint
  previousMinor: bigint | null
  /** Why it would be parked. */
  reason: string | null
  /** It bills fees in advance, and nothing of its subscription was billed before; left out: it does not. */
  isFirstFees?: true
}
export type JudgedDraft = RunDraft & { anomalies: Anomaly[] }

/** Where a subscription stands: its currency, the total of its last period that was billed, whether fees in advance were. */
export type Standing = { currency: string; previousMinor: bigint | null; hasFees: boolean }

/** Each period is compared with the one before it, be that billed or drafted here, or drafted in the pass before. */
export function draftsOf(
  { invoices, parked }: Pick<RatedChunk, 'invoices' | 'parked'>,
  standingOf: ReadonlyMap<string, Standing>,
): RunDraft[] {
  const before = new Map(
    [...standingOf].flatMap(([id, { previousMinor }]) =>
      previousMinor === null ? [] : [[id, previousMinor] as const],
    ),
  )
  const drafts = invoices.map((invoice): RunDraft => {
    const { subscription, plan, period, draft } = invoice
    const { id: subscriptionId, customerId } = subscription
    const offCycle = invoice.offCycle === true || invoice.replaces !== undefined
    const previousMinor = offCycle ? null : (before.get(subscriptionId) ?? null)
    const isFirstFees =
      invoice.claimsFees === true && !before.has(subscriptionId) && standingOf.get(subscriptionId)?.hasFees !== true
    if (!offCycle) before.set(subscriptionId, draft.totalMinor)
    return {
      kind: 'invoice',
      subscriptionId,
      customerId,
      currency: plan.currency,
      periodStartMs: period.startMs,
      periodEndMs: period.endMs,
      offCycle,
      lineCount: draft.lines.length,
      amountMinor: draft.totalMinor,
      previousMinor,
      reason: null,
      ...(isFirstFees ? { isFirstFees } : {}),
    }
  })
  const refused = parked.flatMap(({ subscription, periodStartMs, reason }): RunDraft[] => {
    const { id: subscriptionId, customerId, next } = subscription
    const standing = standingOf.get(subscriptionId)
    // Deleted subscriptions do not exist: each that was rated stands somewhere.
    if (standing === undefined) return []
    const isNext = next.startMs === periodStartMs
    return [
      {
        kind: 'parked',
        subscriptionId,
        customerId,
        currency: standing.currency,
        periodStartMs,
        periodEndMs: isNext ? next.endMs : null,
        offCycle: false,
        lineCount: 0,
        amountMinor: 0n,
        previousMinor: before.get(subscriptionId) ?? null,
        reason,
      },
    ]
  })
  return [...drafts, ...refused]
}

/** Where subscriptions stand behind these drafts of them. */
export function standingsBehind(
  standingOf: ReadonlyMap<string, Standing>,
  drafts: readonly RunDraft[],
): Map<string, Standing> {
  const behind = new Map(standingOf)
  for (const { kind, subscriptionId, offCycle, amountMinor } of drafts) {
    const standing = behind.get(subscriptionId)
    if (kind !== 'invoice' || offCycle || standing === undefined) continue
    behind.set(subscriptionId, { ...standing, previousMinor: amountMinor })
  }
  return behind
}
