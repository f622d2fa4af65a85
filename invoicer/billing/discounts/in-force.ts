import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import type { InvoiceDiscount } from './discount-parts.ts'

/** A discount of a subscription, as it is known. */
export type GivenDiscount = InvoiceDiscount & {
  /** Invoices show it. */
  couponName: string
  startMs: number
  /** null: without end. */
  endMs: number | null
  /** How many invoices of a subscription it lasts; null: for ever. */
  cycles: number | null
  /** When invoices of the subscription fell due that have it; of one that lasts for ever they are not needed. */
  usedAtMs: readonly number[]
}
/** Those that a subscription has, its customer's included. */
export type DiscountsOf = (subscription: { id: string; customerId: string }) => readonly GivenDiscount[]
/** One that an invoice has; it is the how-many-th of the subscription that it is for, from 1. null: that is without end. */
export type DueDiscount = GivenDiscount & { cycle: number | null }

const MINUTE_MS = 60_000

export const noDiscounts: DiscountsOf = () => []

/**
 * When an invoice falls due, of a subscription each at another time: at the end of its period or, for fees of a period on an
 * invoice of their own, as the minute ends in which these are due. Null: it stands beside the periods and has no
 * discounts, because what it corrects has its own inside. A progressive one has those that the invoice of its period will
 * have, so that they are the same cycle, and what it billed behind them comes off that one.
 */
export function dueAtMs({ subscription, period, offCycle, claimsFees, progressive }: RatedInvoice): number | null {
  if (progressive) return period.endMs
  if (claimsFees) return asMinuteEnds(subscription.feesDueMs ?? period.startMs)
  return offCycle ? null : period.endMs
}

/** A discount that begins as fees are due is on them. Before the period's own invoice, though that be the last minute. */
export function asMinuteEnds(feesDueMs: number): number {
  return feesDueMs + MINUTE_MS - 1
}

/**
 * Which discounts the invoice has that falls due at a time: those in force in the minute before, that have not been on as
 * many of the invoices before it as they are to be. Those are the ones that are issued, and `earlier`, which will be
 * before it; an invoice in the place of a void one takes no further cycle, and none that one behind it has by now.
 */
export function inForce(discounts: readonly GivenDiscount[], atMs: number, earlier: readonly number[]): DueDiscount[] {
  return discounts.flatMap((discount): DueDiscount[] => {
    if (!canHave(discount, atMs)) return []
    if (discount.cycles === null) return [{ ...discount, cycle: null }]
    const coming = earlier.filter((one) => canHave(discount, one))
    const before = [...new Set([...discount.usedAtMs, ...coming])].filter((one) => one < atMs)
    const cycle = before.length + 1
    return cycle <= discount.cycles ? [{ ...discount, cycle }] : []
  })
}

/**
 * When invoices before a time will fall due, as far as that decides over its limited discounts: nothing is asked where each
 * is used up, not in force then or without limit, and `comingFrom`, which names them from an instant on, is taken from
 * only until each is used up. So a look at a far period is no long walk.
 */
export function decisive(
  discounts: readonly GivenDiscount[],
  atMs: number,
  comingFrom: (fromMs: number) => Iterable<number>,
): number[] {
  let open = discounts.flatMap((discount) => {
    const left = (discount.cycles ?? 0) - discount.usedAtMs.length
    return left > 0 && canHave(discount, atMs) ? [{ discount, left }] : []
  })
  const times: number[] = []
  if (open.length === 0) return times
  for (const one of comingFrom(Math.min(...open.map(({ discount }) => discount.startMs)))) {
    if (one >= atMs) continue
    times.push(one)
    const takes = (discount: GivenDiscount) => !discount.usedAtMs.includes(one) && canHave(discount, one)
    open = open.flatMap(({ discount, left }) => {
      const leftThen = takes(discount) ? left - 1 : left
      return leftThen > 0 ? [{ discount, left: leftThen }] : []
    })
    if (open.length === 0) break
  }
  return times
}

/**
 * One given for a time that is past, which only later invoices had as they were issued, is not put on an earlier place that
 * is billed again: theirs are its cycles.
 */
function canHave(discount: GivenDiscount, atMs: number): boolean {
  const { cycles, usedAtMs } = discount
  if (!isInForce(discount, atMs)) return false
  return cycles === null || usedAtMs.includes(atMs) || usedAtMs.every((one) => one < atMs)
}

function isInForce({ startMs, endMs }: GivenDiscount, atMs: number): boolean {
  return startMs < atMs && (endMs === null || endMs >= atMs)
}
