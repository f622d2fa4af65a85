import { Problem } from '../../../schemas/http/problem.ts'
import type { Draft } from '../lines.ts'
import type { TaxContext } from './tax.ts'
import { taxed } from './taxed.ts'

/**
 * What taxes a draft, as of the instant at which it is issued. Whatever it throws parks the subscription with that reason:
 * an invoice is never issued untaxed because its tax was not known.
 */
export type TaxEngine = (draft: Draft, context: TaxContext, atMs: number, currency: string) => Draft | Promise<Draft>

/** The rules of this folder with rates from open data and the tenant's own. */
export const embeddedTax: TaxEngine = (draft, context, atMs) => taxed(draft, context, atMs)

/** Each legal entity's own: that of the house, or Stripe Tax where there is a key for it. */
export function taxBySeller(stripe: TaxEngine | undefined): TaxEngine {
  return (draft, context, atMs, currency) => {
    if (context.seller.tax.engine === 'embedded') return embeddedTax(draft, context, atMs, currency)
    if (stripe === undefined) {
      throw new Problem('calculation_failed', 'The tax of Stripe is not known: start the invoicer with STRIPE_TAX_KEY.')
    }
    return stripe(draft, context, atMs, currency)
  }
}

/** Where no key of Stripe was given. */
export const taxWithoutStripe: TaxEngine = taxBySeller(undefined)

/** For watching, which asks nobody: where the tax is not known at once, the draft as it was. */
export const taxWhereKnown: TaxEngine = (draft, context, atMs) => {
  if (context.seller.tax.engine !== 'embedded') return draft
  try {
    return taxed(draft, context, atMs)
  } catch {
    return draft
  }
}

/** By customer id, as sold by a legal entity or else by the customer's own; undefined where nothing is taxed. */
export type TaxOf = (customerId: string, sellerId?: string) => TaxContext | undefined

export const noTax: TaxOf = () => undefined
