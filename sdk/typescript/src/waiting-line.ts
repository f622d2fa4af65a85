import type { Entry } from './event.ts'

/** An event of the spool that was not answered for yet. Without its text: the spool was damaged, and it is lost. */
export type Spooled = { seq: number; text: string | undefined }

/** What keeps events beyond the process; `@tallyline/sdk/spool` makes one. Only what returns a promise may fail. */
export type Spool = {
  /** The first place of this process; what lies before it was left by an earlier one. */
  readonly nextSeq: number
  /** Left by an earlier process: their places end at `nextSeq`. */
  readonly recovered: number
  /** The place of the event, or undefined when there is no room. It is durable after the next `sync`. */
  append: (text: string) => number | undefined
  /** Answered for: it is not needed any more. */
  settle: (seq: number) => void
  /** Resolves when all that was appended is on disk. */
  sync: () => Promise<void>
  /** The next events from that place on, in the order they were written: at least one, if there is one. */
  readFrom: (seq: number) => Promise<Spooled[]>
  /** Of what was not answered for, how many are on disk. */
  durable: () => number
  close: () => Promise<void>
}

/** First in, first out, without moving what waits. */
export type WaitingLine = {
  push: (entry: Entry) => void
  /** At least one, if there is one; then as many as fit. */
  take: (maxEvents: number, maxBytes: number) => Entry[]
  count: () => number
  bytes: () => number
  oldest: () => Entry | undefined
}

const COMPACT_FROM = 1_024

export function createWaitingLine(): WaitingLine {
  let entries: Entry[] = []
  let head = 0
  let bytes = 0
  return {
    push: (entry) => {
      entries.push(entry)
      bytes += entry.text.length
    },
    take: (maxEvents, maxBytes) => {
      let taken = 0
      let end = head
      for (; end < entries.length && end - head < maxEvents; end++) {
        const size = entries[end]?.text.length ?? 0
        if (end > head && taken + size > maxBytes) break
        taken += size
      }
      const batch = entries.slice(head, end)
      head = end
      bytes -= taken
      if (head === entries.length) {
        entries = []
        head = 0
      } else if (head >= COMPACT_FROM && head * 2 >= entries.length) {
        entries = entries.slice(head)
        head = 0
      }
      return batch
    },
    count: () => entries.length - head,
    bytes: () => bytes,
    oldest: () => entries[head],
  }
}
