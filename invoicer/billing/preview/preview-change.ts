import { Problem } from '../../../schemas/http/problem.ts'
import { phaseAt } from '../../agreements/subscriptions/phases.ts'
import type { ToRate } from '../due.ts'
import type { Draft, Line } from '../lines.ts'
import type { PlanOf } from '../run/rate-chunk.ts'

/**
 * Which plan is taken from when on, and what that does to the fees of the running period: taken off are those of plans
 * that are on less of it, 0 or less, and added those of plans that are on more. Discounts, taxes and usage are not in it.
 */
export type PreviewedChange = { planKey: string; atMs: number; creditMinor: bigint; chargeMinor: bigint }

/** From all fees of the period before and after, whenever they are billed, so that runs charge just this. */
export function previewChange(
  { planId, phases, terms }: ToRate,
  planOf: PlanOf,
  atMs: number,
  before: Pick<Draft, 'lines'>,
  after: Pick<Draft, 'lines'>,
): PreviewedChange {
  const first = { startMs: terms.startMs, planId, kind: 'active' as const, bills: true }
  const plan = planOf(phaseAt([first, ...(phases ?? [])], atMs).planId)
  if (plan instanceof Problem) throw plan
  const [feesBefore, feesAfter] = [feesOf(before.lines), feesOf(after.lines)]
  const planIds = [...new Set([...feesBefore.keys(), ...feesAfter.keys()])]
  const differences = planIds.map((id) => (feesAfter.get(id) ?? 0n) - (feesBefore.get(id) ?? 0n))
  const sumOf = (of: (minor: bigint) => boolean) => differences.filter(of).reduce((sum, minor) => sum + minor, 0n)
  return {
    planKey: plan.key,
    atMs,
    creditMinor: sumOf((minor) => minor < 0n),
    chargeMinor: sumOf((minor) => minor > 0n),
  }
}

/** By plan. A fee has no meter; what one lacks to its minimum is part of it. */
function feesOf(lines: readonly Line[]): Map<string, bigint> {
  const fees = new Map<string, bigint>()
  for (const { planId, meter, amountMinor, discount } of lines) {
    if (meter === null && discount === undefined) fees.set(planId, (fees.get(planId) ?? 0n) + amountMinor)
  }
  return fees
}
