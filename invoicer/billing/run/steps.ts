/**
 * The steps of a billing run in their order. Each is reported as it begins, before any effect of it; `review` is where a
 * dry run ends and a run may wait for an approval; `rate` and `issue` repeat for each chunk of subscriptions, `attempt`,
 * `charge` and `settle` for each chunk of invoices to pay. A run that dies in any of them is continued from the first:
 * every effect is there already, or is made once.
 */
export const RUN_STEPS = [
  'open',
  'request-seal',
  'await-seal',
  'review',
  'bill-again',
  'late-usage',
  'left-waiting',
  'rate',
  'issue',
  'progressive',
  'consolidate',
  'attempt',
  'charge',
  'settle',
  'complete',
] as const
export type RunStep = (typeof RUN_STEPS)[number]

/** Told as a step begins; the adapter keeps it in billing_runs.step. */
export type Progress = (step: RunStep) => Promise<void>
