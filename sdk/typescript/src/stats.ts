/**
 * Counts since the start. Every event is in one place:
 * emitted + recovered = accepted + duplicates + dead + dropped + waiting.
 */
export type Stats = {
  /** Calls of emit. */
  emitted: number
  /** Left in the spool by an earlier process. */
  recovered: number
  accepted: number
  /** The server knew them already: they count once. */
  duplicates: number
  /** Told to onDead. */
  dead: number
  /** Told to onFull. */
  dropped: number
  waiting: number
  /** Of JSON in memory. */
  bytes: number
  oldestWaitingMs: number
  requests: number
  /** Events in those requests, each as often as it was sent. */
  sent: number
  /** Events that were to be sent again. */
  retried: number
  /** Errors thrown by onDead and onFull, and calls left out because one was made inside another. */
  callbackErrors: number
  /** What the latest request that failed said, or a spool that cannot be read. */
  latestError: string | undefined
}

export type Counts = Omit<Stats, 'waiting' | 'bytes' | 'oldestWaitingMs'>

export function newCounts(): Counts {
  return {
    emitted: 0,
    recovered: 0,
    accepted: 0,
    duplicates: 0,
    dead: 0,
    dropped: 0,
    requests: 0,
    sent: 0,
    retried: 0,
    callbackErrors: 0,
    latestError: undefined,
  }
}

export function waitingOf(counts: Counts): number {
  const ended = counts.accepted + counts.duplicates + counts.dead + counts.dropped
  return counts.emitted + counts.recovered - ended
}
