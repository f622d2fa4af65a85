import { type Cadence, periodAt, periodBoundary, periodsBetween } from '../../../schemas/time/period.ts'
import type { CreditSchedule } from './schedule.ts'

/** One that is to be given: its number in the schedule, from when on it pays, and until when. */
export type DueGrant = { index: number; atMs: number; expiresAtMs: number | null }

type Terms = Pick<
  CreditSchedule,
  'cadence' | 'zone' | 'startMs' | 'untilMs' | 'grants' | 'expires' | 'expiresAfterDays'
>

/** Those of a schedule that are due at an instant and were not given, in order and with their own times; the next one. */
export function dueGrants(
  terms: Terms,
  next: CreditSchedule['next'],
  atMs: number,
  most: number,
): { due: DueGrant[]; next: CreditSchedule['next'] } {
  const due: DueGrant[] = []
  let open = next
  while (open !== null && open.atMs <= atMs && due.length < most) {
    const endMs = boundary(terms, open.index + 1)
    due.push({ index: open.index, atMs: open.atMs, expiresAtMs: expiryOf(terms, open.atMs, endMs) })
    open = firstFrom(terms, endMs)
  }
  return { due, next: open }
}

/** The first of a schedule at or behind an instant; null where there is none. */
export function firstFrom(terms: Terms, fromMs: number): CreditSchedule['next'] {
  // A period that a zone left out when it crossed the date line has no length, and brings no credit.
  const period = periodAt({ ...scheduleOf(terms), endMs: terms.untilMs }, Math.max(fromMs, terms.startMs))
  if (period === undefined || (terms.grants !== null && period.index >= terms.grants)) return null
  return { index: period.index, atMs: period.startMs }
}

/** The first start of a period of these behind an instant. */
export function nextStartMs(terms: Pick<Terms, 'cadence' | 'zone' | 'startMs'>, behindMs: number): number {
  for (const { wholeEndMs } of periodsBetween(scheduleOf(terms), behindMs, Number.POSITIVE_INFINITY)) {
    if (wholeEndMs > behindMs) return wholeEndMs
  }
  return Number.POSITIVE_INFINITY
}

/** So many calendar days of a zone behind an instant. */
export function daysLaterMs(fromMs: number, days: number, zone: string): number {
  return periodBoundary(fromMs, { interval: 'day', every: days }, zone, 1)
}

function expiryOf({ expires, expiresAfterDays, zone }: Terms, atMs: number, endMs: number): number | null {
  if (expires === 'next_grant') return endMs
  return expiresAfterDays === null ? null : daysLaterMs(atMs, expiresAfterDays, zone)
}

function boundary({ startMs, cadence, zone }: Terms, n: number): number {
  return periodBoundary(startMs, cadence, zone, n)
}

function scheduleOf({ startMs, cadence, zone }: { startMs: number; cadence: Cadence; zone: string }) {
  return { ...cadence, startMs, zone, alignment: 'anniversary' as const }
}
