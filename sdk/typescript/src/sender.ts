import { retryDelayMs } from './backoff.ts'
import { type Batch, createBatches } from './batches.ts'
import type { Entry } from './event.ts'
import type { Intake } from './intake.ts'
import type { Post } from './post.ts'
import { type BatchVerdict, type EventVerdict, readAnswer } from './read-answer.ts'
import type { Settings } from './settings.ts'
import type { Counts } from './stats.ts'

export type Dead = Omit<Extract<EventVerdict, { kind: 'dead' }>, 'kind'>
export type SenderDeps = {
  settings: Settings
  intake: Intake
  post: Post
  counts: Counts
  onDead: (entry: Entry, dead: Dead) => void
}
export type Sender = {
  /** An event came in. Does no more than set a timer: the caller is in a hurry. */
  noticed: () => void
  /** What waits goes out without waiting for more. */
  hurry: () => void
  /** Under way or to be sent again. */
  unanswered: () => Entry[]
  /** Nothing is sent any more, and answers still to come are ignored. */
  stop: () => void
}

const EVENTS_PATH = '/api/v1/events'
const HEADERS = { 'content-type': 'application/cloudevents-batch+json' }

/**
 * Sends batches, several at once while all goes well. After a request that failed as a whole they go one by one, each
 * after a longer wait, until one is answered; a failed batch takes its turn behind others that are due, so that one the
 * server cannot digest holds up nobody.
 */
export function createSender(deps: SenderDeps): Sender {
  const { settings, intake, counts } = deps
  const { clock, firstRetryMs, longestRetryMs, random } = settings
  const batches = createBatches(settings, intake)
  const underWay = new Set<Batch>()
  let failures = 0
  let gateMs = 0
  let stopped = false
  let timer: { atMs: number; cancel: () => void } | undefined

  const wakeAt = (atMs: number) => {
    if (timer && timer.atMs <= atMs) return
    timer?.cancel()
    const cancel = clock.after(Math.max(0, atMs - clock.monotonicMs()), () => {
      timer = undefined
      pump()
    })
    timer = { atMs, cancel }
  }
  const isBusy = () => stopped || underWay.size >= (failures > 0 ? 1 : settings.concurrency)
  const pump = () => {
    if (stopped) return
    intake.refill(pump)
    while (!isBusy()) {
      const nowMs = clock.monotonicMs()
      if (nowMs < gateMs) return wakeAt(gateMs)
      const batch = batches.next(nowMs)
      const dueMs = batches.dueMs()
      if (batch) send(batch).catch(putBack(batch)).then(pump)
      else if (dueMs === undefined) return
      else return wakeAt(dueMs)
    }
  }
  const send = async (batch: Batch) => {
    underWay.add(batch)
    counts.requests++
    counts.sent += batch.entries.length
    const answer = await deps.post(EVENTS_PATH, `[${batch.entries.map(({ text }) => text).join()}]`, HEADERS)
    if (stopped) return
    underWay.delete(batch)
    const { left, failure } = follow(deps, batch, readAnswer(answer, batch.entries.length, clock.wallMs()))
    counts.retried += left?.batch.entries.length ?? 0
    const waitMs = failure?.waitMs ?? left?.waitMs ?? 0
    if (failure) {
      counts.latestError = failure.reason
      gateMs = clock.monotonicMs() + waitMs + retryDelayMs(failures, firstRetryMs, longestRetryMs, random)
    }
    failures = failure ? failures + 1 : 0
    if (left?.halve) batches.halve(left.batch, left.halve === 'too large')
    else if (left) batches.retry(left.batch, clock.monotonicMs(), waitMs)
  }
  /** Whatever it was that nobody thought of, it costs no event. */
  const putBack = (batch: Batch) => (error: unknown) => {
    underWay.delete(batch)
    counts.latestError = String(error)
    const entries = batch.entries.filter((entry) => !entry.settled)
    if (entries.length > 0) batches.putBack({ ...batch, entries, dueMs: clock.monotonicMs() + longestRetryMs })
  }

  return {
    noticed: () => {
      // Whoever is under way, or the end of the wait, looks for more anyway.
      if (timer?.atMs === 0 || isBusy()) return
      if (batches.isFull()) {
        if (clock.monotonicMs() >= gateMs) wakeAt(0)
        return
      }
      const lingerEndMs = batches.startLinger()
      if (lingerEndMs !== undefined) wakeAt(lingerEndMs)
    },
    hurry: () => {
      batches.hurry()
      pump()
    },
    unanswered: () => [...underWay, ...batches.waitingForRetry()].flatMap(({ entries }) => entries),
    stop: () => {
      stopped = true
      timer?.cancel()
    },
  }
}

/** What is left of a batch after its answer, and whether the request failed as a whole. */
type Aftermath = {
  left?: { batch: Batch; waitMs?: number | undefined; halve?: 'too large' | 'invalid' }
  failure?: { reason: string; waitMs?: number | undefined }
}

function follow(deps: SenderDeps, batch: Batch, verdict: BatchVerdict): Aftermath {
  const { entries } = batch
  switch (verdict.kind) {
    case 'outcomes': {
      const left = entries.filter((entry, index) => !settled(deps, entry, verdict.verdicts[index]))
      if (left.length === 0) return {}
      const aftermath = { left: { batch: { ...batch, entries: left }, waitMs: verdict.waitMs } }
      if (left.length < entries.length) return aftermath
      return { ...aftermath, failure: { reason: 'no event of a batch was taken', waitMs: verdict.waitMs } }
    }
    case 'again':
      return { left: { batch }, failure: verdict }
    case 'refused': {
      const failure = { reason: `${verdict.code}: ${verdict.message}`, waitMs: verdict.waitMs }
      const { clock, refusedTries, refusedForMs } = deps.settings
      const nowMs = clock.monotonicMs()
      const refusals = batch.refusals + 1
      const refusedSinceMs = batch.refusedSinceMs ?? nowMs
      if (refusals < refusedTries || nowMs - refusedSinceMs < refusedForMs) {
        return { left: { batch: { ...batch, refusals, refusedSinceMs } }, failure }
      }
      for (const entry of entries) bury(deps, entry, deadOf(verdict))
      return { failure }
    }
    case 'split': {
      if (entries.length > 1) return { left: { batch, halve: verdict.tooLarge ? 'too large' : 'invalid' } }
      for (const entry of entries) bury(deps, entry, deadOf(verdict))
      return {}
    }
  }
}

/** False when the event is to be sent again. */
function settled(deps: SenderDeps, entry: Entry, verdict: EventVerdict | undefined): boolean {
  if (!verdict || verdict.kind === 'again') return false
  if (verdict.kind === 'dead') {
    const { code, message, path } = verdict
    bury(deps, entry, { code, message, path })
    return true
  }
  deps.counts[verdict.kind === 'accepted' ? 'accepted' : 'duplicates']++
  deps.intake.settle(entry)
  return true
}

function bury({ intake, onDead }: SenderDeps, entry: Entry, dead: Dead): void {
  intake.settle(entry)
  onDead(entry, dead)
}

function deadOf({ code, message }: { code: string; message: string }): Dead {
  return { code, message, path: undefined }
}
