/** The seal a run bills by: everything known before W, in so many events with this digest. */
export type Seal = { id: string; knownBeforeMs: number; eventCount: number; digest: string }

export type BillingRun = {
  id: string
  state: 'running' | 'completed' | 'failed'
  step: string
  /** Which periods are due: those whose end and grace lie at or before it. */
  asOfMs: number
  /** W, what is known when the run starts. Not `asOfMs`. */
  knownBeforeMs: number
  sealId: string
  subscriptionsDue: number | null
  error: string | null
}

/** As the API shows a run. */
export type BillingRunReport = BillingRun & {
  seal: Seal | null
  invoicesCreated: number
  parked: { subscriptionId: string; reason: string }[]
}
