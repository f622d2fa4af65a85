import { Problem } from '../../../schemas/http/problem.ts'
import { parseMoney } from '../../../schemas/money.ts'
import { type Phase, phaseAt } from '../../agreements/subscriptions/phases.ts'
import type { ToRate } from '../due.ts'
import type { Draft, Line } from '../lines.ts'
import type { PlanOf } from '../run/rate-chunk.ts'

/**
 * Which plan holds from when on, and what the change does to the fees of the running period: taken off are those of plans,
 * and of quantities, that are on less of it, 0 or less, and added those that are on more. Discounts, taxes and usage are not
 * in it.
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
  const first: Phase = { startMs: terms.startMs, planId, kind: 'active', bills: true }
  const plan = planOf(phaseAt([first, ...(phases ?? [])], atMs).planId)
  if (plan instanceof Problem) throw plan
  const [feesBefore, feesAfter] = [feesOf(before.lines, plan.currency), feesOf(after.lines, plan.currency)]
  const names = [...new Set([...feesBefore.keys(), ...feesAfter.keys()])]
  const differences = names.map((id) => (feesAfter.get(id) ?? 0n) - (feesBefore.get(id) ?? 0n))
  const sumOf = (of: (minor: bigint) => boolean) => differences.filter(of).reduce((sum, minor) => sum + minor, 0n)
  return {
    planKey: plan.key,
    atMs,
    creditMinor: sumOf((minor) => minor < 0n),
    chargeMinor: sumOf((minor) => minor > 0n),
  }
}

/** By plan and quantity. A fee has no meter; what one lacks to its minimum is part of it. */
function feesOf(lines: readonly Line[], currency: string): Map<string, bigint> {
  const fees = new Map<string, bigint>()
  const add = (name: string, minor: bigint) => fees.set(name, (fees.get(name) ?? 0n) + minor)
  for (const { planId, chargeKey, meter, amountMinor, breakdown, discount } of lines) {
    if (meter !== null || discount !== undefined) continue
    const runs = breakdown.filter((entry) => entry.type === 'quantity')
    let leftMinor = amountMinor
    for (const { quantity, amount } of runs) {
      const minor = parseMoney(amount, currency)
      // What is beyond the maximum is not paid for: it is that which comes last.
      const paidMinor = minor - (minor > leftMinor ? minor - leftMinor : 0n)
      leftMinor -= paidMinor
      add(`${planId}/${chargeKey}/${quantity}`, paidMinor)
    }
    if (runs.length === 0) add(planId, amountMinor)
  }
  return fees
}
