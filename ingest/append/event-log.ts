/** One record of the log, made of the events of one partition. */
export type LogAppend = { partition: number; record: Buffer }

/** Where accepted events go. */
export type EventLogWriter = {
  /** Names the log, as the aggregator's ranges do. */
  logId: string
  /** Number of partitions; it never changes within one log. */
  partitions: number
  /** Resolves when every record survives power loss; rejects when it is not known that they do. */
  append(records: readonly LogAppend[]): Promise<void>
  /** Next offset of each partition after everything appended so far. */
  ends(): Promise<number[]>
  /** Resolves when the log answers; `ends` when not given. */
  answers?(): Promise<unknown>
}
