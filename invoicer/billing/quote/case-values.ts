import { Problem } from '../../../schemas/http/problem.ts'
import { checkZone } from '../../../schemas/time/zone.ts'
import { badCase } from './bad-case.ts'
import { instantAt, type Members, memberOf, membersAt } from './case-shape.ts'

/** One of the texts that are known. */
export function oneOfAt<Known extends string>(value: unknown, field: string, known: readonly Known[]): Known {
  const found = known.find((one) => one === value)
  if (found !== undefined) return found
  throw badCase(field, `${value === undefined ? 'This is missing. ' : ''}Send one of ${known.join(', ')}.`)
}

/** UTC when it is left out. */
export function zoneAt(value: unknown, field: string): string {
  if (value === undefined) return 'UTC'
  const zone = typeof value === 'string' ? value : ''
  asBadCase(field, () => checkZone(zone))
  return zone
}

/** A JSON number without a fraction, or its digits as text. */
export function wholeNumberAt(value: unknown, field: string, least: number, most: number): number {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value
  if (typeof number === 'number' && Number.isInteger(number) && number >= least && number <= most) return number
  throw badCase(field, `Send a whole number from ${least} to ${most}.`)
}

/** Half-open, and not empty. */
export function periodAt(value: unknown, field: string): { startMs: number; endMs: number } {
  const members: Members = membersAt(value, field, ['start', 'end'])
  const startMs = instantAt(members.start, memberOf(field, 'start'))
  const endMs = instantAt(members.end, memberOf(field, 'end'))
  if (startMs < endMs) return { startMs, endMs }
  throw badCase(memberOf(field, 'end'), 'A period must end after its start.')
}

/** What the product refuses is a bad case, at the field that led to it. */
export function asBadCase<Result>(field: string, compute: () => Result): Result {
  try {
    return compute()
  } catch (error) {
    throw error instanceof Problem ? badCase(field, error.message) : error
  }
}
