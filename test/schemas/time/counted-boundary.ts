import type { Cadence } from '../../../schemas/time/period.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const clocks = new Map<string, Intl.DateTimeFormat>()

/** Shows `2024-01-31 19:00`, which sorts as time does. */
export function clockOf(timeZone: string): Intl.DateTimeFormat {
  const clock =
    clocks.get(timeZone) ?? new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short', timeStyle: 'short' })
  clocks.set(timeZone, clock)
  return clock
}

/** Second implementation: counts days and months one at a time, then searches the minute at which a clock shows it. */
export function countedBoundary(
  anchorMs: number,
  { interval: unit, every }: Cadence,
  inZone: string,
  n: number,
): number {
  const clock = clockOf(inZone)
  const anchor = clock.format(anchorMs)
  let [year, month, day] = anchor.split(/\D/).map(Number) as [number, number, number]
  const lengthOf = (y: number, m: number) => {
    if (m !== 2) return [4, 6, 9, 11].includes(m) ? 30 : 31
    return (y % 4 === 0 && y % 100 !== 0) || y % 400 === 0 ? 29 : 28
  }
  const addMonth = () => {
    month += 1
    if (month === 13) [year, month] = [year + 1, 1]
  }
  const steps = { day: 1, week: 7, month: 1, quarter: 3, half_year: 6, year: 12 }[unit]
  for (let step = 0; step < n * every * steps; step += 1) {
    if (unit !== 'day' && unit !== 'week') addMonth()
    else if (day < lengthOf(year, month)) day += 1
    else {
      day = 1
      addMonth()
    }
  }
  day = Math.min(day, lengthOf(year, month))
  const two = (value: number) => String(value).padStart(2, '0')
  const wanted = `${year}-${two(month)}-${two(day)} ${anchor.slice(11)}`
  const asUtc = Date.parse(`${wanted.replace(' ', 'T')}:00Z`)
  for (let ms = asUtc - 16 * HOUR_MS; ms <= asUtc + 16 * HOUR_MS; ms += 15 * MINUTE_MS) {
    if (clock.format(ms) === wanted) return ms
  }
  for (let ms = asUtc - 16 * HOUR_MS; ms <= asUtc + 16 * HOUR_MS; ms += MINUTE_MS) {
    if (clock.format(ms) >= wanted) return ms
  }
  throw new Error(`no clock of ${inZone} shows ${wanted} or later`)
}
