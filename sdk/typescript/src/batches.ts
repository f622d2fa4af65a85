import { retryDelayMs } from './backoff.ts'
import type { Entry } from './event.ts'
import type { Intake } from './intake.ts'
import type { Settings } from './settings.ts'

/** Events that are sent in one request. */
export type Batch = {
  entries: Entry[]
  /** How often it was sent, and how often and since when the server refused the request as such. */
  attempt: number
  refusals: number
  refusedSinceMs: number | undefined
  /** Not to be sent before. */
  dueMs: number
}

/** What is to be sent next: what failed and is due, else what has come in and waited or grown enough. */
export type Batches = {
  next: (nowMs: number) => Batch | undefined
  /** When `next` has something, if nothing comes in. */
  dueMs: () => number | undefined
  /** Enough came in for a batch. */
  isFull: () => boolean
  /** An event came in. If it is the first, the others have time until the moment returned. */
  startLinger: () => number | undefined
  /** What came in until now does not wait for more. */
  hurry: () => void
  retry: (batch: Batch, nowMs: number, waitMs: number) => void
  /** As it is, when it is due. */
  putBack: (batch: Batch) => void
  halve: (batch: Batch, tooLarge: boolean) => void
  waitingForRetry: () => readonly Batch[]
}

const SMALLEST_BATCH_BYTES = 4_096

export function createBatches(settings: Settings, intake: Intake): Batches {
  const { clock, batchEvents, lingerMs, firstRetryMs, longestRetryMs, random } = settings
  let { batchBytes } = settings
  const retries: Batch[] = []
  let lingerEndMs: number | undefined
  let hurried = 0
  let retriesTurn = false

  const isFull = () => intake.count() >= batchEvents || intake.bytes() >= batchBytes
  const isReady = (nowMs: number) => {
    if (intake.count() === 0) {
      // What it began for is in the spool alone: there is nothing to wake up for.
      lingerEndMs = undefined
      return false
    }
    lingerEndMs ??= nowMs + lingerMs
    return hurried > 0 || isFull() || nowMs >= lingerEndMs
  }
  const next = (nowMs: number): Batch | undefined => {
    const fresh = isReady(nowMs)
    const due = retries.findIndex((batch) => batch.dueMs <= nowMs)
    // In turn: neither does a batch that fails for ever hold up what comes in, nor the other way round.
    retriesTurn = due >= 0 && (!fresh || retriesTurn)
    if (retriesTurn) {
      retriesTurn = false
      return retries.splice(due, 1)[0]
    }
    if (!fresh) return undefined
    retriesTurn = true
    const entries = intake.take(batchEvents, batchBytes)
    hurried = Math.max(0, hurried - entries.length)
    lingerEndMs = intake.count() > 0 ? nowMs + lingerMs : undefined
    return newBatch(entries)
  }
  const halve = ({ entries }: Batch, tooLarge: boolean) => {
    const bytes = entries.reduce((sum, { text }) => sum + text.length, 0)
    // Something on the way takes less than the server does: the batches after this one need not find out again.
    if (tooLarge) batchBytes = Math.max(Math.floor(bytes / 2), Math.min(batchBytes, SMALLEST_BATCH_BYTES))
    const middle = Math.ceil(entries.length / 2)
    // Before all others: else every batch would be in small pieces before the first is done.
    retries.unshift(newBatch(entries.slice(0, middle)), newBatch(entries.slice(middle)))
  }

  return {
    next,
    isFull,
    halve,
    dueMs: () => {
      const never = Number.POSITIVE_INFINITY
      const firstMs = retries.reduce((least, { dueMs }) => Math.min(least, dueMs), lingerEndMs ?? never)
      return firstMs === never ? undefined : firstMs
    },
    startLinger: () => {
      if (lingerEndMs !== undefined) return undefined
      lingerEndMs = clock.monotonicMs() + lingerMs
      return lingerEndMs
    },
    hurry: () => {
      hurried = intake.count()
    },
    retry: (batch, nowMs, waitMs) => {
      const dueMs = nowMs + waitMs + retryDelayMs(batch.attempt, firstRetryMs, longestRetryMs, random)
      retries.push({ ...batch, attempt: batch.attempt + 1, dueMs })
    },
    putBack: (batch) => {
      retries.push(batch)
    },
    waitingForRetry: () => retries,
  }
}

function newBatch(entries: Entry[]): Batch {
  return { entries, attempt: 0, refusals: 0, refusedSinceMs: undefined, dueMs: 0 }
}
