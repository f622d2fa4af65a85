import { within } from './clock.ts'
import type { Intake } from './intake.ts'
import type { Leases } from './leases.ts'
import type { Dead, Sender, SenderDeps } from './sender.ts'
import type { Settings } from './settings.ts'
import { type Counts, waitingOf } from './stats.ts'

/** Counts of events since the start, those of the spool included. */
export type Flushed = {
  /** Survive the end of this process: answered for by the server, or on disk in the spool. */
  durable: number
  /** Accepted by the server, now or before. */
  acknowledged: number
  /** Not answered for yet. */
  waiting: number
}

type Parts = {
  settings: Settings
  counts: Counts
  intake: Intake
  sender: Sender
  leases: Pick<Leases, 'close'>
  onDead: SenderDeps['onDead']
}
type Wait = (options?: { timeoutMs?: number }) => Promise<Flushed>

const PATIENCE_MS = 10_000
const LOOK_EVERY_MS = 20
const DISK_MS = 1_000
const NOT_SENT: Dead = {
  code: 'closed',
  message: 'close() ended before the server answered for the event: send it again with the same id',
  path: undefined,
}

/** What `flush` and `close` do. */
export function createFlush({ settings, counts, intake, sender, leases, onDead }: Parts): { flush: Wait; end: Wait } {
  const { clock, spool } = settings
  const flushed = (): Flushed => {
    const acknowledged = counts.accepted + counts.duplicates
    return { durable: acknowledged + (spool?.durable() ?? 0), acknowledged, waiting: waitingOf(counts) }
  }
  const flush: Wait = async ({ timeoutMs = PATIENCE_MS } = {}) => {
    sender.hurry()
    await within(clock, timeoutMs, spool ? spool.sync().catch(intake.emptied) : intake.emptied())
    return flushed()
  }
  const end: Wait = async ({ timeoutMs = PATIENCE_MS } = {}) => {
    const untilMs = clock.monotonicMs() + timeoutMs
    const returned = leases.close().catch(() => undefined)
    // Looked at now and then, because events that were in the spool alone come in meanwhile.
    while (waitingOf(counts) > 0 && clock.monotonicMs() < untilMs) {
      sender.hurry()
      await within(clock, Math.min(untilMs - clock.monotonicMs(), LOOK_EVERY_MS), intake.emptied())
      if (spool) await within(clock, LOOK_EVERY_MS, new Promise(() => undefined))
    }
    const left = [...sender.unanswered(), ...intake.take(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)]
    sender.stop()
    await within(clock, Math.max(0, untilMs - clock.monotonicMs()), returned)
    if (spool) await within(clock, Math.max(DISK_MS, untilMs - clock.monotonicMs()), spool.sync())
    const answer = flushed()
    if (spool) {
      await within(clock, DISK_MS, spool.close())
      return answer
    }
    // Without a spool this process is all there was of them.
    for (const entry of left) {
      intake.settle(entry)
      onDead(entry, NOT_SENT)
    }
    return answer
  }

  return { flush, end }
}
