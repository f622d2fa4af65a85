import type { CreditGrant } from './credit.ts'
import { type DueGrant, dueGrants } from './due-grants.ts'
import type { LeftCredit } from './renewals.postgres.ts'
import { rolledOver } from './roll-over.ts'
import type { CreditSchedule } from './schedule.ts'

/** What of a grant goes on in another one, and what of it is lost. */
export type Rolled = { from: LeftCredit; to: CreditGrant | null; lostMinor: bigint }
export type Renewal = { grants: CreditGrant[]; rolled: Rolled[]; schedules: Pick<CreditSchedule, 'id' | 'next'>[] }

/** Of each schedule at once; whoever was away longer takes several turns. */
const MOST_AT_ONCE = 100

type Open = Pick<CreditGrant, 'remainingMinor' | 'expiresAtMs'>
type Wanted = Omit<CreditGrant, 'id' | 'balanceMinor'>

/**
 * What is due of schedules and of what is left, at an instant: grants with their own times, in the order of these, each
 * with what its customer has right behind it. What of them has expired by now itself is for another turn.
 */
export function planRenewal(
  schedules: readonly CreditSchedule[],
  left: readonly LeftCredit[],
  atMs: number,
  newId: () => string,
): Renewal {
  const rolling = left.filter(({ rollover, expiresAtMs }) => rollover && expiresAtMs !== null && expiresAtMs <= atMs)
  const moved = schedules.map((schedule) => ({ schedule, ...dueGrants(schedule, schedule.next, atMs, MOST_AT_ONCE) }))
  const rolledTo = new Map(rolling.map((from) => [from, goesOn(from)]))
  const wanted = [
    ...[...rolledTo.values()].flatMap((to) => to ?? []),
    ...moved.flatMap(({ schedule, due }) => due.map((one) => ofSchedule(schedule, one))),
  ]
  const grants: CreditGrant[] = []
  const placed = new Map<Wanted, CreditGrant>()
  const openOf = new Map<string, Open[]>()
  for (const one of left) openOf.set(one.customerId, [...(openOf.get(one.customerId) ?? []), one])
  // The sort is stable: what rolls over comes before what is given at the same time.
  for (const one of wanted.toSorted((a, b) => a.createdAtMs - b.createdAtMs)) {
    const open = openOf.get(one.customerId) ?? []
    const balanceMinor = open.reduce((sum, other) => sum + openMinor(other, one.createdAtMs), one.amountMinor)
    const grant = { ...one, id: newId(), balanceMinor }
    openOf.set(one.customerId, [...open, grant])
    grants.push(grant)
    placed.set(one, grant)
  }
  const rolled = rolling.map((from): Rolled => {
    const wantedTo = rolledTo.get(from)
    const to = (wantedTo && placed.get(wantedTo)) ?? null
    return { from, to, lostMinor: from.remainingMinor - (to?.amountMinor ?? 0n) }
  })
  return { grants, rolled, schedules: moved.map(({ schedule: { id }, next }) => ({ id, next })) }
}

/** What is left of a grant that has not expired by then. */
function openMinor({ remainingMinor, expiresAtMs }: Open, atMs: number): bigint {
  return expiresAtMs === null || expiresAtMs > atMs ? remainingMinor : 0n
}

/** With the same priority, name and scope, from the expiry on. */
function goesOn(from: LeftCredit): Wanted | null {
  const next = rolledOver(from, from.schedule, from.zone)
  if (next === null || from.expiresAtMs === null) return null
  const { customerId, name, currency, priority, scope, scheduleId, expiresAtMs: createdAtMs, id: rolledFrom } = from
  const same = { externalKey: null, customerId, name, currency, priority, scope, scheduleId, scheduleIndex: null }
  return { ...same, ...next, remainingMinor: next.amountMinor, rolledFrom, purchaseId: null, createdAtMs }
}

function ofSchedule(schedule: CreditSchedule, { index, atMs, expiresAtMs }: DueGrant): Wanted {
  const { id: scheduleId, customerId, name, currency, amountMinor, priority, scope, rollover } = schedule
  const same = { externalKey: null, customerId, name, currency, amountMinor, priority, scope, rollover, scheduleId }
  const own = { scheduleIndex: index, rolledFrom: null, purchaseId: null, expiresAtMs, createdAtMs: atMs }
  return { ...same, ...own, remainingMinor: amountMinor }
}
