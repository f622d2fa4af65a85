import type { Cadence } from '../../../schemas/time/period.ts'
import type { CreditScope, Rollover } from './terms.ts'

/** When each grant of a schedule expires: when the next one would be given, so many days after it was, or never. */
export const EXPIRIES = ['next_grant', 'after_days', 'never'] as const

/** Credit that is given again and again, at the start of each period that is counted from `startMs`. */
export type CreditSchedule = {
  id: string
  externalKey: string
  customerId: string
  name: string | null
  currency: string
  amountMinor: bigint
  priority: number
  scope: CreditScope | null
  rollover: Rollover | null
  cadence: Cadence
  /** That of the customer when the schedule was made. */
  zone: string
  startMs: number
  /** None from then on; null: for ever. */
  untilMs: number | null
  /** So many at most; null: any number. */
  grants: number | null
  expires: (typeof EXPIRIES)[number]
  expiresAfterDays: number | null
  createdAtMs: number
  /** The first that was not given yet; null when none comes. */
  next: { index: number; atMs: number } | null
  stoppedAtMs: number | null
}
