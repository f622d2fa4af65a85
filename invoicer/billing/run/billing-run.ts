/** The seal a run bills by: everything known before W, in so many events with this digest. */
export type Seal = { id: string; knownBeforeMs: number; eventCount: number; digest: string }

/** `awaiting_approval`: it is drafted, and bills when somebody approves it. `cancelled` and `completed` are for good. */
export const RUN_STATES = ['running', 'awaiting_approval', 'completed', 'failed', 'cancelled'] as const
export type RunState = (typeof RUN_STATES)[number]

export type BillingRun = {
  id: string
  state: RunState
  step: string
  /** Which periods are due: those whose end and grace lie at or before it. */
  asOfMs: number
  /** W, what is known when the run starts. Not `asOfMs`. */
  knownBeforeMs: number
  sealId: string
  subscriptionsDue: number | null
  error: string | null
  /** It drafts what a run would bill, and bills nothing. */
  dryRun: boolean
  /** The run whose parked subscriptions it tries again; it bills nobody else. */
  retriesRun: string | null
  /** When it was settled that it may bill: by approval, or because it needs none. */
  releasedAtMs: number | null
}

/** As the API shows a run. */
export type BillingRunReport = BillingRun & {
  seal: Seal | null
  openedAtMs: number
  endedAtMs: number | null
  /** What it would bill is drafted whole. */
  isDrafted: boolean
  /** The ids of the keys that did. */
  approvedBy: string | null
  cancelledBy: string | null
  /** Due subscriptions that are neither billed nor parked; null where nothing is left to do. */
  subscriptionsLeft: number | null
  invoicesCreated: number
  /** When it came to its first invoice, and when it issued the last one so far. */
  billingSinceMs: number | null
  lastInvoiceMs: number | null
  /** How many are parked still, and the first of them. */
  parkedCount: number
  parked: { subscriptionId: string; reason: string }[]
}
