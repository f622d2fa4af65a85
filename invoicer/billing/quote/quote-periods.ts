import { INTERVALS, type Interval, periodBoundary } from '../../../schemas/time/period.ts'
import { civilAt } from '../../../schemas/time/zone.ts'
import { instantAt, membersAt } from './case-shape.ts'
import { asBadCase, oneOfAt, wholeNumberAt, zoneAt } from './case-values.ts'

const FIELDS = ['kind', 'anchor', 'interval', 'every', 'timezone', 'count']
const MAX_COUNT = 10_000
const MAX_EVERY = 100_000

/**
 * The boundaries of `count` periods after an anchor, in UTC and at whole minutes; the first is the anchor. Each is
 * computed from the anchor, in the zone's calendar. Two are equal where the zone left out the day between them.
 * `every` is 1 and `timezone` UTC when left out.
 */
export function quotePeriods(input: unknown): object {
  const members = membersAt(input, '', FIELDS)
  const anchorMs = instantAt(members.anchor, 'anchor')
  const interval = intervalAt(members.interval)
  const every = members.every === undefined ? 1 : wholeNumberAt(members.every, 'every', 1, MAX_EVERY)
  const zone = zoneAt(members.timezone, 'timezone')
  const count = wholeNumberAt(members.count, 'count', 0, MAX_COUNT)
  asBadCase('anchor', () => civilAt(anchorMs, zone))
  const boundary = (n: number) => periodBoundary(anchorMs, { interval, every }, zone, n)
  const boundariesMs = asBadCase('count', () => Array.from({ length: count + 1 }, (_, n) => boundary(n)))
  // Whole minutes, written as cases are.
  return { boundaries: boundariesMs.map((ms) => new Date(ms).toISOString().replace('.000Z', 'Z')) }
}

/** As it is said: a half year has a space or a hyphen, and several months are months. */
function intervalAt(value: unknown): Interval {
  const name = typeof value === 'string' ? value.replace(/^half[ -]/, 'half_').replace(/s$/, '') : value
  return oneOfAt(name, 'interval', INTERVALS)
}
