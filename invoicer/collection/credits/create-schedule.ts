import { isDeepStrictEqual } from 'node:util'
import { Problem } from '../../../schemas/http/problem.ts'
import { formatMoney, parseMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { type Cadence, floorToMinute } from '../../../schemas/time/period.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { amountErrors, checkTerms } from './check-terms.ts'
import { firstFrom } from './due-grants.ts'
import { renewCredit } from './renew-credit.ts'
import type { CreditSchedule } from './schedule.ts'
import { findScheduleByKey, insertSchedule } from './schedules.postgres.ts'
import type { CreditScope, Rollover } from './terms.ts'

/** `customer` is an id or external key, the amount a text in major units. Without a start it begins at once. */
export type CreateSchedule = {
  externalKey: string
  customer: string
  name: string | null
  amount: string
  priority: number
  scope: CreditScope | null
  rollover: Rollover | null
  cadence: Cadence
  startMs: number | null
  untilMs: number | null
  grants: number | null
  expires: CreditSchedule['expires']
  expiresAfterDays: number | null
}

type Content = Omit<CreditSchedule, 'id' | 'createdAtMs' | 'next' | 'stoppedAtMs'>

/**
 * Gives a customer credit again and again, once per external key of the customer: the same content again answers the
 * stored schedule. What is due at once is given with it.
 * @throws Problem not_found; invalid_request for an amount, times or terms that cannot be; conflict for other content
 * under the same key.
 */
export async function createSchedule(
  tx: TenantTransaction,
  input: CreateSchedule,
  means: Means,
): Promise<{ schedule: CreditSchedule; created: boolean }> {
  const { id: customerId, currency, timezone } = await readCustomer(tx, input.customer)
  const createdAtMs = means.now()
  const { externalKey, name, priority, scope, cadence, grants, expires, expiresAfterDays } = input
  const amountMinor = parseMoney(input.amount, currency)
  const stored = await findScheduleByKey(tx, customerId, externalKey)
  const startMs = floorToMinute(input.startMs ?? stored?.startMs ?? createdAtMs)
  const content: Content = {
    ...{ externalKey, customerId, name, currency, amountMinor, priority, scope, cadence, startMs, grants, expires },
    ...{ expiresAfterDays, zone: stored?.zone ?? timezone, untilMs: input.untilMs },
    rollover: input.rollover && withDays(input.rollover, expiresAfterDays),
  }
  if (stored !== undefined) return { schedule: sameAs(stored, content), created: false }
  refuse(content, createdAtMs)
  await checkTerms(tx, content, currency)
  const id = means.newId()
  const next = firstFrom(content, startMs)
  if (!(await insertSchedule(tx, { ...content, id, createdAtMs, next, stoppedAtMs: null }))) {
    const theirs = await findScheduleByKey(tx, customerId, externalKey)
    if (theirs === undefined) throw new Problem('conflict', 'The schedule was changed by another call: try again.')
    return { schedule: sameAs(theirs, content), created: false }
  }
  const data = { schedule_id: id, amount: formatMoney(amountMinor, currency), currency }
  const event = { id: means.newId(), event: 'credit.schedule_created', customerId, data } as const
  await insertBillingEvents(tx, [event], createdAtMs)
  await renewCredit(tx, means, [customerId], createdAtMs)
  const schedule = await findScheduleByKey(tx, customerId, externalKey)
  return { schedule: schedule ?? { ...content, id, createdAtMs, next, stoppedAtMs: null }, created: true }
}

/** What rolls over lasts as long as what it is left of, unless told. */
function withDays(rollover: Rollover, expiresAfterDays: number | null): Rollover {
  return { ...rollover, expires_after_days: rollover.expires_after_days ?? expiresAfterDays }
}

function refuse({ amountMinor, startMs, untilMs, expires, expiresAfterDays, rollover }: Content, nowMs: number): void {
  const errors = amountErrors(amountMinor)
  if (startMs < floorToMinute(nowMs)) errors.push({ path: 'start_at', message: 'This has passed.' })
  if (untilMs !== null && untilMs <= startMs) errors.push({ path: 'until', message: 'This must be behind the start.' })
  if ((expires === 'after_days') !== (expiresAfterDays !== null)) {
    errors.push({
      path: 'expires_after_days',
      message: 'Give a number of days with expires "after_days", and only then.',
    })
  }
  if (rollover !== null && expires === 'never') {
    errors.push({ path: 'rollover', message: 'What never expires does not roll over.' })
  }
  if (errors.length > 0) throw new Problem('invalid_request', 'The schedule is not valid.', { errors })
}

function sameAs(stored: CreditSchedule, wanted: Content): CreditSchedule {
  const { id: _, createdAtMs: __, next: ___, stoppedAtMs: ____, ...content } = stored
  if (isDeepStrictEqual(content, wanted)) return stored
  throw new Problem('conflict', `Credit schedule ${JSON.stringify(wanted.externalKey)} exists with other content.`)
}
