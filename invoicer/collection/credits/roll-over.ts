import { moneyAsQuantity, parseMoney, roundToMinor } from '../../../schemas/money.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import type { CreditGrant } from './credit.ts'
import { daysLaterMs, nextStartMs } from './due-grants.ts'
import type { CreditSchedule } from './schedule.ts'
import type { Rollover } from './terms.ts'

/** What of expired credit goes on, and until when; null where all of it is lost. */
export type RolledOver = { amountMinor: bigint; expiresAtMs: number; rollover: Rollover | null }

/** `schedule` is that of the grant, whose periods say until when what goes on does where no number of days is given. */
export function rolledOver(
  grant: Pick<CreditGrant, 'amountMinor' | 'remainingMinor' | 'currency' | 'expiresAtMs' | 'rollover'>,
  schedule: Pick<CreditSchedule, 'cadence' | 'zone' | 'startMs'> | null,
  zone: string,
): RolledOver | null {
  const { rollover, expiresAtMs } = grant
  if (rollover === null || expiresAtMs === null) return null
  const amountMinor = mostMinor(grant, rollover)
  if (amountMinor <= 0n) return null
  const { expires_after_days: days, times } = rollover
  const untilMs =
    days === null
      ? schedule && nextStartMs(schedule, expiresAtMs)
      : daysLaterMs(expiresAtMs, days, schedule?.zone ?? zone)
  if (untilMs === null || untilMs <= expiresAtMs) return null
  return { amountMinor, expiresAtMs: untilMs, rollover: times > 1 ? { ...rollover, times: times - 1 } : null }
}

function mostMinor(
  { amountMinor, remainingMinor, currency }: Pick<CreditGrant, 'amountMinor' | 'remainingMinor' | 'currency'>,
  { max_amount: amount, max_percent: percent }: Rollover,
): bigint {
  let leastMinor = remainingMinor
  const bound = (minor: bigint) => {
    if (minor < leastMinor) leastMinor = minor
  }
  if (amount !== null) bound(parseMoney(amount, currency))
  if (percent !== null) {
    const share = moneyAsQuantity(amountMinor, currency).times(parseQuantity(percent)).div(100)
    bound(roundToMinor(share, currency))
  }
  return leastMinor
}
