import { Problem } from '../../../schemas/http/problem.ts'
import { isStorable } from '../../../schemas/money.ts'
import { offsetMs } from '../../../schemas/time/zone.ts'
import type { Draft, Line } from '../lines.ts'
import type { LineTerms, TaxContext, TaxTerms } from './tax.ts'
import { taxAmounts } from './tax-amounts.ts'
import { taxTerms } from './tax-terms.ts'

/**
 * A draft with the tax of each line, issued at an instant by the context's seller. The rate is that of the last day of the
 * line's own period in the buyer's zone, or of the invoice for what is billed ahead, and for a one-time item of the day on
 * which it was agreed. A correction of what was billed before keeps the terms of then, inclusive or not, and where that
 * was not taxed it is not either. What is inside amounts leaves the total, and is no part of the subtotal.
 * @throws Problem calculation_failed where the tax cannot be known or stored.
 */
export function taxed(draft: Draft, context: TaxContext, atMs: number, termsOn: TermsOn = taxTerms): Draft {
  const { id: legalEntityId, tax } = context.seller
  const termsOf = tax.enabled ? termsByDay(context, termsOn) : () => undefined
  const terms = draft.lines.map((line): LineTerms | null | undefined => {
    if (line.tax !== undefined) return line.tax
    return termsOf(taxedAtMs(line, atMs), line.taxClass)
  })
  const amounts = taxAmounts(
    draft.lines.map(({ amountMinor, discount }, index) => {
      const { ratePercent, inclusive } = terms[index] ?? UNTAXED
      return { amountMinor, ratePercent, inclusive, lowers: discount?.lowers }
    }),
    tax.rounding,
  )
  const lines = draft.lines.map((line, index) => withTax(line, terms[index], amounts[index] ?? 0n))
  const taxMinor = amounts.reduce((sum, amountMinor) => sum + amountMinor, 0n)
  const addedMinor = amounts.reduce((sum, minor, index) => (terms[index]?.inclusive ? sum : sum + minor), 0n)
  const answer: Draft = {
    lines,
    subtotalMinor: draft.subtotalMinor + addedMinor - taxMinor,
    taxMinor,
    totalMinor: draft.totalMinor + addedMinor,
    amountDueMinor: draft.amountDueMinor + addedMinor,
    legalEntityId,
  }
  checkTaxed(answer)
  return answer
}

export type TermsOn = (context: TaxContext, day: string, taxClass?: string) => TaxTerms

/** Lines that have no tax yet, of one day and, if they have one, one class: they have the same terms. */
export type TaxedAlike = { day: string; taxClass: string | undefined; lines: Line[] }

/** All that a draft needs terms for, by day and class. */
export function taxedAlike(draft: Draft, { seller, buyer }: TaxContext, atMs: number): Map<string, TaxedAlike> {
  const groups = new Map<string, TaxedAlike>()
  for (const line of seller.tax.enabled ? draft.lines : []) {
    if (line.tax !== undefined) continue
    const day = dayAt(taxedAtMs(line, atMs), buyer.zone)
    const key = alikeKey(day, line.taxClass)
    const group = groups.get(key)
    if (group) group.lines.push(line)
    else groups.set(key, { day, taxClass: line.taxClass, lines: [line] })
  }
  return groups
}

export function alikeKey(day: string, taxClass?: string): string {
  return taxClass === undefined ? day : `${day} ${taxClass}`
}

const UNTAXED = { ratePercent: '0', inclusive: false }

function taxedAtMs({ agreedAtMs, period }: Line, atMs: number): number {
  return agreedAtMs ?? Math.min(period.endMs - 1, atMs)
}

/** The lines of an invoice share a few instants. */
function termsByDay(context: TaxContext, termsOn: TermsOn): (atMs: number, taxClass?: string) => LineTerms {
  const anything = new Map<number, LineTerms>()
  const classes = new Map<string, Map<number, LineTerms>>()
  const { inclusive } = context.seller.tax
  return (atMs, taxClass) => {
    const known = taxClass === undefined ? anything : (classes.get(taxClass) ?? new Map<number, LineTerms>())
    if (taxClass !== undefined) classes.set(taxClass, known)
    const found = known.get(atMs) ?? { inclusive, ...termsOn(context, dayAt(atMs, context.buyer.zone), taxClass) }
    known.set(atMs, found)
    return found
  }
}

function dayAt(atMs: number, zone: string): string {
  return new Date(atMs + offsetMs(atMs, zone)).toISOString().slice(0, 10)
}

/**
 * Not by a spread: where that is followed by a member it has not, Node 20 gives each object a shape of its own, and reads of
 * all of them become slow (decision 0053).
 */
function withTax(line: Line, terms: LineTerms | null | undefined, amountMinor: bigint): Line {
  if (!terms) return line
  const { ratePercent, code, reason, certificate, inclusive } = terms
  return Object.assign({}, line, { tax: { ratePercent, code, reason, certificate, amountMinor, inclusive } })
}

/** The invariants of an invoice (design §4.6) once more, now that there is tax. */
function checkTaxed(draft: Draft): void {
  const sumMinor = draft.lines.reduce((sum, line) => sum + (line.tax?.amountMinor ?? 0n), 0n)
  if (sumMinor !== draft.taxMinor || draft.subtotalMinor + draft.taxMinor !== draft.totalMinor) {
    throw new Problem('calculation_failed', `Taxes of ${sumMinor} and a total of ${draft.totalMinor} differ.`)
  }
  if (!isStorable(draft.totalMinor)) {
    throw new Problem('calculation_failed', 'With its tax the invoice is too large to be stored.')
  }
}
