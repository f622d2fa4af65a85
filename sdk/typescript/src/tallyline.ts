import type { Decision } from './account.ts'
import { createEncoder, type Entry, type UsageEvent } from './event.ts'
import { createFlush, type Flushed } from './flush.ts'
import { createIntake } from './intake.ts'
import { createLeases, type LeaseStats, type Leases } from './leases.ts'
import { createPost } from './post.ts'
import { createSender, type Dead } from './sender.ts'
import { settingsOf, type TallylineOptions } from './settings.ts'
import { newCounts, type Stats, waitingOf } from './stats.ts'
import { createTellers } from './tellers.ts'
import { createUuidV7 } from './uuid-v7.ts'

export type { Decision } from './account.ts'
export type { Clock } from './clock.ts'
export type { DeadLetter, UsageEvent } from './event.ts'
export type { Flushed } from './flush.ts'
export type { LeaseStats } from './leases.ts'
export type { FetchLike } from './post.ts'
export type { Full, LeaseFailure, QuotaOptions, TallylineOptions } from './settings.ts'
export type { Stats } from './stats.ts'
export type { Spool } from './waiting-line.ts'

export type Tallyline = {
  /**
   * Takes the event and returns its id; undefined if it was not taken (onFull, onDead). Never waits, never throws: what a
   * function that makes the event throws goes to onDead.
   */
  emit: (event: UsageEvent | (() => UsageEvent)) => string | undefined
  /**
   * May the subject use so much more? Decided at once in this process, from a lease on the quota; undefined while the first
   * lease is on its way. What is allowed is taken: hand `hold` to the event of the work, or give it back.
   */
  decide: (subject: string, meter: string, quantity?: number) => Decision | undefined
  /** As decide, and waits for that lease. */
  check: (subject: string, meter: string, quantity?: number) => Promise<Decision>
  /** The allowed work was not done, or not all of it. */
  giveBack: (decision: Decision, subject: string, meter: string, quantity?: number) => void
  /** The allowed work took so much more: taken from the lease that allowed it, as far as that has it. */
  takeMore: (decision: Decision, subject: string, meter: string, quantity: number) => void
  /** Checks, and emits the event if it is allowed. `id` is that of the event, when it was taken. */
  consume: (event: UsageEvent, meter: string, quantity?: number) => Promise<Decision & { id: string | undefined }>
  /** Waits until what was emitted before is durable, but no longer than `timeoutMs` (10,000). */
  flush: (options?: { timeoutMs?: number }) => Promise<Flushed>
  /**
   * Takes no more, sends what waits, and ends after `timeoutMs` (10,000). A disk that hangs is waited for two seconds more.
   * Never rejects.
   */
  close: (options?: { timeoutMs?: number }) => Promise<Flushed>
  stats: () => Stats & LeaseStats
}

export function createTallyline(options: TallylineOptions): Tallyline {
  const settings = settingsOf(options)
  const { clock, spool } = settings
  const counts = { ...newCounts(), recovered: spool?.recovered ?? 0 }
  const nextId = createUuidV7(clock.wallMs, settings.fillRandom)
  const encode = createEncoder(settings.source)
  const intake = createIntake(settings, spool, clock, {
    onLost: (text) => bury({ ...LOST, id: undefined, event: text }),
    onUnread: (error) => {
      counts.latestError = `spool: ${messageOf(error)}`
    },
  })
  const post = createPost(settings)
  const { bury, buryEntry, drop, onLeaseFailure } = createTellers(settings, counts, intake)
  const sender = createSender({ settings, intake, post, counts, onDead: buryEntry })
  const leases = createLeases({ settings, post, nextId, onFailure: onLeaseFailure })
  const { flush, end } = createFlush({ settings, counts, intake, sender, leases, onDead: buryEntry })
  let closing: Promise<Flushed> | undefined

  const emit: Tallyline['emit'] = (given) => {
    counts.emitted++
    let id: string | undefined
    try {
      const event = typeof given === 'function' ? given() : given
      const nowMs = clock.wallMs()
      id = event.id ?? nextId(nowMs)
      const text = encode(event, id, nowMs)
      if (!closing && intake.offer(id, text, nowMs)) {
        sender.noticed()
        return id
      }
    } catch (error) {
      bury({ id, event: given, code: 'invalid_event', message: messageOf(error) })
      return undefined
    }
    drop(id, closing ? 'closed' : 'full')
    return undefined
  }

  if (spool) sender.hurry()
  return {
    emit,
    decide: leases.decide,
    check: leases.check,
    giveBack: leases.giveBack,
    takeMore: leases.takeMore,
    consume: consumer(leases, emit),
    flush,
    close: (options) => {
      closing ??= end(options)
      return closing
    },
    stats: () => ({
      ...counts,
      ...leases.stats(),
      waiting: waitingOf(counts),
      bytes: intake.heldBytes(),
      oldestWaitingMs: longestWaitMs([...sender.unanswered(), intake.oldest()], clock.wallMs()),
    }),
  }
}

const LOST: Dead = {
  code: 'spool_damaged',
  message: 'its file in the spool cannot be read any more: look for a file that ends in .damaged',
  path: undefined,
}

function longestWaitMs(entries: readonly (Entry | undefined)[], nowMs: number): number {
  return entries.reduce((longest, entry) => Math.max(longest, nowMs - (entry?.emittedMs ?? nowMs)), 0)
}

function consumer({ check, giveBack }: Leases, emit: Tallyline['emit']): Tallyline['consume'] {
  return async (event, meter, quantity) => {
    const decision = await check(event.subject, meter, quantity)
    if (!decision.allowed) return { ...decision, id: undefined }
    const id = emit({ ...event, hold: decision.hold })
    if (id === undefined) giveBack(decision, event.subject, meter, quantity)
    return { ...decision, id }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
