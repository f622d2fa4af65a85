import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'

/** Where accepted events come from. Offsets are dense from 0 in each partition. */
export type EventLogReader = {
  /** Names the log: offsets of another log say nothing about this one. */
  logId: string
  partitions: number
  /** Durable records from the given next offset of each partition on, at most about maxBytes; none: an empty list. */
  read(nextOffsets: readonly number[], maxBytes: number): Promise<LogRow[]>
  /** The end of each partition (its next offset) after everything whose append time was drawn before the call. */
  ends(): Promise<number[]>
  /** Resolves when there may be something to read, at the latest after waitMs. */
  waitForMore(waitMs: number): Promise<void>
}
