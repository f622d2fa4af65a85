import { allocate, formatMoney } from '../../../schemas/money.ts'
import { checkSamePayer } from '../former-payer.ts'
import type { Line } from '../lines.ts'
import type { Span } from '../unused.ts'
import type { BilledFee } from './billed-fee.ts'

/**
 * The difference rule: fees of a period as they are now − Σ billed of them, charge by charge, whatever changed in between
 * and in whatever order. By the arithmetic of unused(t) that is −unused(t) of a plan that was left at t, and unused(t) of the
 * one that was taken. A difference keeps the terms by which was taxed what it corrects.
 * @throws Problem illegal_state for a difference to what somebody was issued who does not pay any more.
 */
export function feesToBill(
  fees: readonly Line[],
  billed: readonly BilledFee[],
  period: Span,
  currency: string,
): Line[] {
  const earlier = billed.filter(({ periodStartMs }) => periodStartMs === period.startMs)
  const places = [...new Set([...earlier.filter((one) => !fees.some(isOf(one))), ...fees].map(placeOf))]
  return places.flatMap((place) => {
    const now = fees.filter((line) => placeOf(line) === place)
    const before = earlier.filter((one) => placeOf(one) === place)
    const last = before.at(-1)
    return last === undefined ? now : difference(now, before, last, period, currency)
  })
}

function difference(
  now: readonly Line[],
  before: readonly BilledFee[],
  last: BilledFee,
  period: Span,
  currency: string,
): Line[] {
  const sumOf = (parts: readonly { amountMinor: bigint }[]) => parts.reduce((sum, one) => sum + one.amountMinor, 0n)
  const [nowMinor, billedMinor] = [sumOf(now), sumOf(before)]
  if (nowMinor === billedMinor) return []
  const discountMinor = before.reduce((sum, one) => sum + one.discountMinor, 0n)
  const unpaidMinor = discountGivenBack(nowMinor, billedMinor, discountMinor)
  const amountMinor = nowMinor - billedMinor + unpaidMinor
  // Nothing of it was paid.
  if (amountMinor === 0n) return []
  checkSamePayer(before, 'A fee in advance')
  const money = (minor: bigint) => formatMoney(minor, currency)
  const entry = {
    ...{ type: 'fee_difference' as const, billed: money(billedMinor) },
    now: money(nowMinor),
    ...(unpaidMinor === 0n ? {} : { discount: money(unpaidMinor) }),
    amount: money(amountMinor),
  }
  const { planId, chargeKey, served, tax, sellerId } = last
  const [first] = now
  const line: Line = {
    ...{ planId, chargeKey, meter: null, usage: null, amountMinor },
    description: `${first?.description ?? last.description} (less what was billed in advance)`,
    period: first?.period ?? served,
    breakdown: [entry, ...now.flatMap(({ breakdown }) => breakdown)],
    fee: { ...(first?.fee ?? { startMs: period.startMs, endMs: period.endMs }), changeMinor: nowMinor - billedMinor },
    tax: tax && { ...tax, amountMinor: 0n },
  }
  return [sellerId === null ? line : { ...line, correctsOf: sellerId }]
}

/**
 * What of a fee that is given back was never paid, because discounts took it off: the same share of them as of the fee.
 * Nothing of one that is to be billed.
 */
export function discountGivenBack(nowMinor: bigint, billedMinor: bigint, discountMinor: bigint): bigint {
  if (nowMinor >= billedMinor || discountMinor === 0n) return 0n
  const [, backMinor = 0n] = allocate(-discountMinor, [nowMinor, billedMinor - nowMinor])
  return backMinor
}

/** What of a period's fees was billed in advance, behind the discounts that it really had, with the tax of then. */
export function paidFees(billed: readonly BilledFee[], period: Span): Line[] {
  const own = billed.filter(({ periodStartMs }) => periodStartMs === period.startMs)
  return own.map(({ planId, chargeKey, description, served, amountMinor, discountMinor, tax }) => ({
    ...{ planId, chargeKey, description, meter: null, usage: null, breakdown: [], period: served },
    amountMinor: amountMinor + discountMinor,
    tax: tax && { ...tax, amountMinor: 0n },
  }))
}

/** Lines, as what they will have billed: of the same pass, in which nothing changes that would ask for their tax. */
export function asBilled(lines: readonly Line[]): BilledFee[] {
  return lines.flatMap(({ planId, chargeKey, description, period: served, amountMinor, fee }) =>
    fee === undefined
      ? []
      : [
          {
            ...{ planId, chargeKey, description, served, periodStartMs: fee.startMs, tax: null, sellerId: null },
            amountMinor: fee.changeMinor ?? amountMinor,
            discountMinor: amountMinor - (fee.changeMinor ?? amountMinor),
          },
        ],
  )
}

type Place = { planId: string; chargeKey: string }

function placeOf({ planId, chargeKey }: Place): string {
  return `${planId}/${chargeKey}`
}

function isOf(one: Place): (other: Place) => boolean {
  return (other) => placeOf(one) === placeOf(other)
}
