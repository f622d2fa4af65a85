import type { Span } from './unused.ts'

/** Whose events of which time; `place` is that of a request among those that are read together. */
export type PlacedSpan = Span & { place: number; subject: string }
/** A minute with more events than may be held. */
export type FullMinute = { fullMs: number; events: number }

/**
 * Slices of time, in order and without a gap, each of whole minutes with `most` events at most: numbers of events by the
 * start of their minute. The first has no start and the last no end: what comes in meanwhile lies in one of them too.
 */
export function cutTime(byMinute: ReadonlyMap<number, number>, most: number): Span[] | FullMinute {
  const slices: Span[] = []
  let [startMs, held] = [Number.NEGATIVE_INFINITY, 0]
  for (const [minuteMs, events] of [...byMinute].sort(([a], [b]) => a - b)) {
    if (events > most) return { fullMs: minuteMs, events }
    if (held + events > most) {
      slices.push({ startMs, endMs: minuteMs })
      startMs = minuteMs
      held = 0
    }
    held += events
  }
  return [...slices, { startMs, endMs: Number.POSITIVE_INFINITY }]
}

/** What of the spans lies in a slice. */
export function within(spans: readonly PlacedSpan[], slice: Span): PlacedSpan[] {
  return spans
    .map((span) => ({
      ...span,
      startMs: Math.max(span.startMs, slice.startMs),
      endMs: Math.min(span.endMs, slice.endMs),
    }))
    .filter(({ startMs, endMs }) => startMs < endMs)
}
