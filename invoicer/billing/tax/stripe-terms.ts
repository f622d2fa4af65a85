import { Problem } from '../../../schemas/http/problem.ts'
import { formatQuantity, parseQuantity, ZERO } from '../../../schemas/quantity.ts'
import type { TaxReason, TaxTerms } from './tax.ts'

/**
 * What Stripe Tax says of an amount, as much of a `tax.calculation` as is looked at. Amounts are in minor units; what is
 * taxable is without tax. A percentage is a decimal: '8.875' is 8.875 %.
 */
export type StripeTaxes = {
  taxMinor: bigint
  parts: readonly {
    percentage: string
    country: string | null
    state: string | null
    kind: string | null
    reason: string
    taxableMinor: bigint
  }[]
}

/** https://docs.stripe.com/api/tax/calculations/object, `taxability_reason`; the other reasons are reduced rates. */
const REASONS: Readonly<Record<string, TaxReason>> = {
  standard_rated: 'standard_rate',
  portion_standard_rated: 'standard_rate',
  proportionally_rated: 'standard_rate',
  reduced_rated: 'reduced_rate',
  portion_reduced_rated: 'reduced_rate',
  taxable_basis_reduced: 'reduced_rate',
  reverse_charge: 'reverse_charge',
  customer_exempt: 'exempt',
  not_collecting: 'not_registered',
  not_subject_to_tax: 'not_taxable',
  product_exempt: 'not_taxable',
  product_exempt_holiday: 'not_taxable',
  portion_product_exempt: 'not_taxable',
  zero_rated: 'not_taxable',
}
/** As many places as a stored rate has. */
const RATE_PLACES = 6

/**
 * The terms of an amount: the sum of the rates of all its jurisdictions, each as far as the amount is taxable there. Where
 * that is less than all of it, the rate is the one that makes the same tax.
 * @throws Problem calculation_failed for what Stripe does not know, or says in a way that is not known here.
 */
export function stripeTerms(
  { taxMinor, parts }: StripeTaxes,
  netMinor: bigint,
  fallback: { country: string; certificate: string | null },
): TaxTerms {
  const reasons = parts.map(({ reason }) => reasonOf(reason))
  const [first] = parts
  const taxes = parts.filter(({ percentage }) => !parseQuantity(percentage).isZero())
  if (taxes.length === 0 || taxMinor === 0n) {
    const reason = reasons[0] ?? 'not_taxable'
    const none = reason === 'standard_rate' || reason === 'reduced_rate' ? 'not_taxable' : reason
    const certificate = none === 'exempt' ? fallback.certificate : null
    return { ratePercent: '0', code: codeOf(first, fallback.country), reason: none, certificate }
  }
  const ratePercent = taxes.reduce((sum, { percentage, taxableMinor }) => {
    const percent = parseQuantity(percentage)
    return sum.plus(isAll(taxableMinor, netMinor) ? percent : percent.times(String(taxableMinor)).div(String(netMinor)))
  }, ZERO)
  return {
    ratePercent: formatQuantity(ratePercent.toDecimalPlaces(RATE_PLACES)),
    code: codeOf(taxes[0], fallback.country),
    reason: reasons.includes('reduced_rate') ? 'reduced_rate' : 'standard_rate',
    certificate: null,
  }
}

function reasonOf(reason: string): TaxReason {
  const known = REASONS[reason]
  if (known === undefined) {
    throw new Problem('calculation_failed', `Stripe Tax does not know the tax: ${JSON.stringify(reason)}.`)
  }
  return known
}

/** What is without its tax may be a unit off for each time it was rounded. */
function isAll(taxableMinor: bigint, netMinor: bigint): boolean {
  const off = taxableMinor - netMinor
  return off >= -1n && off <= 1n
}

/** Country, state and kind of the tax: 'GR-VAT', 'US-NY-SALES_TAX'. */
function codeOf(part: StripeTaxes['parts'][number] | undefined, country: string): string {
  return [part?.country ?? country, part?.state, part?.kind ?? 'tax']
    .flatMap((text) => text ?? [])
    .join('-')
    .toUpperCase()
}
