import type { Clock } from './clock.ts'
import { type Entry, eventOf } from './event.ts'
import { createWaitingLine, type Spool } from './waiting-line.ts'

/** What waits: in memory up to a bound, beyond it in the spool alone. */
export type Intake = {
  /** False when there is no room. */
  offer: (id: string, text: string, nowMs: number) => boolean
  take: (maxEvents: number, maxBytes: number) => Entry[]
  /** The event was answered for. */
  settle: (entry: Entry) => void
  /** Of those not taken. */
  count: () => number
  bytes: () => number
  oldest: () => Entry | undefined
  /** In memory, taken or not. */
  heldBytes: () => number
  /** Reads on in the spool when memory has room again; `then` runs when something came. */
  refill: (then: () => void) => void
  /** Resolves when all that is in memory now was answered for. */
  emptied: () => Promise<void>
}

type Bounds = { maxWaitingEvents: number; maxWaitingBytes: number }
/** What went wrong with the spool. */
export type SpoolFaults = {
  /** The event is lost: nothing, or no event, came back for it. */
  onLost: (text: string | undefined) => void
  /** It cannot be read now, and will be asked again. */
  onUnread: (error: unknown) => void
}

const READ_AGAIN_MS = 1_000

export function createIntake(
  bounds: Bounds,
  spool: Spool | undefined,
  clock: Clock,
  { onLost, onUnread }: SpoolFaults,
): Intake {
  const line = createWaitingLine()
  const held = { events: 0, bytes: 0 }
  const epochs = createEpochs()
  /** The next event to come from the spool; when it is the spool's next place, nothing is left there alone. */
  let nextSeq = spool ? spool.nextSeq - spool.recovered : 0
  let reading = false

  const fits = (bytes: number) =>
    held.events < bounds.maxWaitingEvents && (held.bytes + bytes <= bounds.maxWaitingBytes || held.events === 0)
  const push = (id: string, text: string, emittedMs: number, seq: number | undefined) => {
    held.events++
    held.bytes += text.length
    line.push({ id, text, emittedMs, epoch: epochs.enter(), seq, settled: false })
  }
  const read = async (from: Spool): Promise<void> => {
    const spooled = await from.readFrom(nextSeq)
    if (spooled.length === 0) throw new Error(`the spool has nothing at place ${nextSeq}`)
    for (const { seq, text } of spooled) {
      nextSeq = seq + 1
      const { id, time } = membersOf(text)
      if (text !== undefined && id !== undefined) push(id, text, Date.parse(time) || clock.wallMs(), seq)
      else {
        from.settle(seq)
        onLost(text)
      }
    }
  }

  return {
    offer: (id, text, nowMs) => {
      if (!spool) {
        if (!fits(text.length)) return false
        push(id, text, nowMs, undefined)
        return true
      }
      const seq = spool.append(text)
      if (seq === undefined) return false
      if (seq === nextSeq && !reading && fits(text.length)) {
        push(id, text, nowMs, seq)
        nextSeq = seq + 1
      }
      return true
    },
    take: line.take,
    settle: (entry) => {
      entry.settled = true
      held.events--
      held.bytes -= entry.text.length
      epochs.leave(entry.epoch)
      if (entry.seq !== undefined) spool?.settle(entry.seq)
    },
    count: line.count,
    bytes: line.bytes,
    oldest: line.oldest,
    heldBytes: () => held.bytes,
    refill: (then) => {
      const hasRoom = held.events * 2 <= bounds.maxWaitingEvents && held.bytes * 2 <= bounds.maxWaitingBytes
      if (!spool || reading || !hasRoom || nextSeq >= spool.nextSeq) return
      reading = true
      const goOn = () => {
        reading = false
        then()
      }
      read(spool).then(goOn, (error: unknown) => {
        onUnread(error)
        // A disk that cannot be read is asked again, but not all the time.
        clock.after(READ_AGAIN_MS, goOn)
      })
    },
    emptied: epochs.next,
  }
}

/** What is needed of an event that comes from the spool; no id if it is none. */
function membersOf(text = ''): { id: string | undefined; time: string } {
  const event = eventOf(text)
  const { id, time } = (typeof event === 'object' && event !== null ? event : {}) as Record<string, unknown>
  return { id: typeof id === 'string' ? id : undefined, time: String(time) }
}

/** Counts what waits by the flush that will wait for it. */
function createEpochs() {
  const waiting = new Map<number, number>()
  let waiters: { epoch: number; resolve: () => void }[] = []
  let current = 0
  const isEmptyTo = (epoch: number) => [...waiting.keys()].every((each) => each > epoch)
  return {
    enter: () => {
      waiting.set(current, (waiting.get(current) ?? 0) + 1)
      return current
    },
    leave: (epoch: number) => {
      const left = (waiting.get(epoch) ?? 0) - 1
      if (left > 0) {
        waiting.set(epoch, left)
        return
      }
      waiting.delete(epoch)
      for (const waiter of waiters) if (isEmptyTo(waiter.epoch)) waiter.resolve()
      waiters = waiters.filter((waiter) => !isEmptyTo(waiter.epoch))
    },
    next: () => {
      const epoch = current++
      if (isEmptyTo(epoch)) return Promise.resolve()
      return new Promise<void>((resolve) => waiters.push({ epoch, resolve }))
    },
  }
}
