import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'

/** Which partitions this process reads. The generation changes whenever they may have changed hands. */
export type Assignment = { generation: number; partitions: readonly number[] }

/** The next offset of each partition; undefined: a partition that this process does not read. */
export type Offsets = readonly (number | undefined)[]

/** Where accepted events come from. Offsets are dense from 0 in each partition. */
export type EventLogReader = {
  /** Names the log: offsets of another log say nothing about this one. */
  logId: string
  partitions: number
  /**
   * How far clocks of several brokers may differ: what is appended later than W plus this was known after W. 0 where
   * one clock never runs back.
   */
  clockMarginMs: number
  start(): Promise<void>
  stop(): Promise<void>
  assignment(): Assignment
  /** Durable records of assigned partitions from the given offsets on, at most about maxBytes; none: an empty list. */
  read(nextOffsets: Offsets, maxBytes: number): Promise<LogRow[]>
  /** Everything before these offsets is stored: for dashboards only, progress is what the store says. */
  stored(nextOffsets: Offsets): void
  /** The end of each partition (its next offset) after everything whose append time was drawn before the call. */
  ends(): Promise<number[]>
  /** Resolves when there may be something to read, at the latest after waitMs. */
  waitForMore(waitMs: number): Promise<void>
}
