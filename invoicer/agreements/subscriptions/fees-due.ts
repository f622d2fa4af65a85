import type { NamedPhase, Subscription } from './subscription.ts'

/**
 * When fees of the next period are due on an invoice of their own: when the first part of it begins that is billed, on a
 * plan, or with an add-on, that has fees in advance. Null where there is none, or where they are billed: then what changes
 * is settled on the invoice of that period.
 */
export function feesDueMs(
  { phases, nextPeriod }: Pick<Subscription, 'phases' | 'nextPeriod'>,
  feesBilled: boolean,
): number | null {
  if (nextPeriod === null || feesBilled) return null
  const { startMs, endMs } = nextPeriod
  const first = phases.find((phase, index) => {
    const next: NamedPhase | undefined = phases[index + 1]
    const isOver = next !== undefined && next.startMs <= startMs
    return phase.bills && billsAhead(phase) && !isOver && phase.startMs < endMs
  })
  return first === undefined ? null : Math.max(first.startMs, startMs)
}

function billsAhead({ feesAhead, addOns = [] }: NamedPhase): boolean {
  return feesAhead || addOns.some((addOn) => addOn.feesAhead)
}
