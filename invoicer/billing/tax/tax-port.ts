import type { Draft } from '../lines.ts'
import type { TaxContext } from './tax.ts'
import { taxed } from './taxed.ts'

/**
 * What taxes a draft, as of the instant at which it is issued. Whatever it throws parks the subscription with that reason:
 * an invoice is never issued untaxed because its tax was not known.
 */
export type TaxEngine = (draft: Draft, context: TaxContext, atMs: number) => Draft | Promise<Draft>

/** The rules of this folder with rates from open data and the tenant's own. */
export const embeddedTax: TaxEngine = taxed

/** For watching: where only the tax is not known, the draft as it was. */
export const taxWhereKnown: TaxEngine = (draft, context, atMs) => {
  try {
    return taxed(draft, context, atMs)
  } catch {
    return draft
  }
}

/** By customer id, as sold by a legal entity or else by the customer's own; undefined where nothing is taxed. */
export type TaxOf = (customerId: string, sellerId?: string) => TaxContext | undefined

export const noTax: TaxOf = () => undefined
