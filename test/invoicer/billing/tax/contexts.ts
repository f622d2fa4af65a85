import { openRateOn } from '../../../../invoicer/billing/tax/open-rates.ts'
import type { Buyer, Seller, TaxContext } from '../../../../invoicer/billing/tax/tax.ts'

export type ContextChange = { seller?: Partial<Seller>; tax?: Partial<Seller['tax']>; buyer?: Partial<Buyer> }

/** A Greek seller, registered there, and a Greek business. */
export function contextOf({ seller, tax, buyer }: ContextChange = {}): TaxContext {
  return {
    seller: {
      id: 'seller',
      country: 'GR',
      registrations: [{ country: 'GR', number: 'EL123456789' }],
      tax: {
        enabled: true,
        engine: 'embedded',
        rounding: 'per_line',
        inclusive: false,
        euConsumers: 'destination',
        ...tax,
      },
      ...seller,
    },
    buyer: { key: 'a', kind: 'business', country: 'GR', zone: 'UTC', taxIds: [], taxExemption: null, ...buyer },
    rateOn: openRateOn,
  }
}
