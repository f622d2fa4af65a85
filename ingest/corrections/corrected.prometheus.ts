import { Counter, type Registry } from 'prom-client'
import type { OperationKind } from '../../schemas/event/operation.ts'
import type { OutcomeKind } from '../accept/outcome.ts'

/** Tells what became of the corrections of a request. */
export type CountCorrections = (
  tenantSlug: string,
  kind: OperationKind,
  counts: Partial<Record<OutcomeKind, number>>,
) => void

export function createCorrectionCounter(metrics: Registry): CountCorrections {
  const corrections = new Counter({
    name: 'billing_event_corrections_total',
    help: 'Voids and replacements of events by outcome at the edge',
    labelNames: ['tenant', 'operation', 'outcome'],
    registers: [metrics],
  })
  return (tenant, operation, counts) => {
    for (const [outcome, count] of Object.entries(counts)) {
      if (count > 0) corrections.inc({ tenant, operation, outcome }, count)
    }
  }
}
