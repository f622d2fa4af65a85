import { checkDraft, type Draft, type Line, untaxedDraft } from '../lines.ts'
import { type DiscountPart, discountParts } from './discount-parts.ts'
import type { DueDiscount } from './in-force.ts'

/**
 * A discount on an invoice that falls due at a time, and what it took off: 0 where there was nothing to take from. It is
 * the how-many-th invoice of the subscription that it is for; null: that is without end.
 */
export type AppliedDiscount = { discountId: string; cycle: number | null; amountMinor: bigint; atMs: number }

/**
 * A draft before tax with its discounts behind all other lines: each part is a line below 0 of its own, of the charge,
 * period and day of tax of the line that it lowers, so that sums, taxes and credit notes are those of plain lines.
 * @throws Problem as draftInvoice.
 */
export function discounted(
  draft: Draft,
  discounts: readonly DueDiscount[],
  currency: string,
): { draft: Draft; applied: Omit<AppliedDiscount, 'atMs'>[] } {
  if (discounts.length === 0) return { draft, applied: [] }
  const nameOf = new Map(discounts.map(({ id, couponName }) => [id, couponName]))
  const taken = new Map<string, bigint>()
  const lines = discountParts(draft.lines, discounts, currency).flatMap((part): Line[] => {
    const { id } = part.discount
    const lowered = draft.lines[part.lowers]
    if (lowered === undefined) return []
    taken.set(id, (taken.get(id) ?? 0n) + part.amountMinor)
    return [discountLine(part, lowered, nameOf.get(id) ?? part.discount.couponKey)]
  })
  const applied = discounts.map(({ id, cycle }) => ({ discountId: id, cycle, amountMinor: taken.get(id) ?? 0n }))
  if (lines.length === 0) return { draft, applied }
  const answer = untaxedDraft([...draft.lines, ...lines])
  checkDraft(answer)
  return { draft: answer, applied }
}

function discountLine({ discount, lowers, amountMinor, entry }: DiscountPart, lowered: Line, name: string): Line {
  const { planId, period, chargeKey, meter, tax, taxClass, agreedAtMs, correctsOf } = lowered
  return {
    ...{ planId, period, chargeKey, meter, usage: null, amountMinor: -amountMinor, breakdown: [entry] },
    description: `${name}: ${lowered.description}`,
    discount: { id: discount.id, lowers },
    ...(tax === undefined ? {} : { tax }),
    ...(taxClass === undefined ? {} : { taxClass }),
    ...(agreedAtMs === undefined ? {} : { agreedAtMs }),
    ...(correctsOf === undefined ? {} : { correctsOf }),
  }
}

/** Some of the lines of an invoice as an invoice of their own: each part of a discount goes with the line it lowers. */
export function renumbered(all: readonly Line[], own: readonly Line[]): Line[] {
  return own.map((line) => {
    const lowered = line.discount && all[line.discount.lowers]
    if (line.discount === undefined || lowered === undefined) return line
    return { ...line, discount: { ...line.discount, lowers: own.indexOf(lowered) } }
  })
}
