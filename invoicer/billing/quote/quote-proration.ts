import { formatMoney, roundToMinorOfAnySize } from '../../../schemas/money.ts'
import { type Quantity, ZERO } from '../../../schemas/quantity.ts'
import { floorToMinute } from '../../../schemas/time/period.ts'
import { lengthOf, PRORATION_BASES, type ProrationBasis, type Span, unused } from '../unused.ts'
import { badCase } from './bad-case.ts'
import { currencyAt, decimalAt, instantAt, membersAt } from './case-shape.ts'
import { asBadCase, oneOfAt, periodAt, zoneAt } from './case-values.ts'

const FIELDS = ['kind', 'basis', 'timezone', 'period', 'at', 'from', 'to', 'currency']

/**
 * A change of a fee inside a period: the credit for what is unused of the old one, the charge for the new one from then
 * on, and both together. All times are floored to the minute. A change at the period's end leaves nothing unused.
 * By days (of `timezone`), the day of the change is the new fee's. `basis` is second and `timezone` UTC when left out. A fee
 * that begins or ends has one of `from` and `to`. Amounts have no upper limit: nothing is stored.
 */
export function quoteProration(input: unknown): object {
  const members = membersAt(input, '', FIELDS)
  const unit = members.basis === undefined ? 'second' : oneOfAt(members.basis, 'basis', PRORATION_BASES)
  const basis: ProrationBasis = { unit, zone: zoneAt(members.timezone, 'timezone') }
  const whole = wholeAt(members.period, basis)
  const atMs = floorToMinute(instantAt(members.at, 'at'))
  if (atMs < whole.startMs || atMs > whole.endMs) throw badCase('at', 'The change must lie in the period.')
  const currency = currencyAt(members.currency, 'currency')
  if (members.from === undefined && members.to === undefined) {
    throw badCase('from', 'This is missing. Send from, to, or both.')
  }
  const unusedOf = (field: 'from' | 'to') =>
    roundToMinorOfAnySize(unused(feeAt(members[field], field), atMs, whole, basis), currency)
  const [creditMinor, chargeMinor] = [-unusedOf('from'), unusedOf('to')]
  return {
    credit: formatMoney(creditMinor, currency),
    charge: formatMoney(chargeMinor, currency),
    net: formatMoney(creditMinor + chargeMinor, currency),
  }
}

function wholeAt(value: unknown, basis: ProrationBasis): Span {
  const given = periodAt(value, 'period')
  const whole = { startMs: floorToMinute(given.startMs), endMs: floorToMinute(given.endMs) }
  if (whole.startMs === whole.endMs) throw badCase('period.end', 'A period is at least a minute long.')
  if (asBadCase('period', () => lengthOf(whole.startMs, whole.endMs, basis)) > 0) return whole
  throw badCase('period.end', 'This period begins and ends on one calendar day: it has seconds, and no days.')
}

function feeAt(value: unknown, field: string): Quantity {
  if (value === undefined) return ZERO
  const fee = decimalAt(value, field)
  if (fee.isNegative() && !fee.isZero()) throw badCase(field, 'A fee must not be negative.')
  return fee
}
