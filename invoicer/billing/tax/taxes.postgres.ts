import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray } from '../../array-text.ts'
import { type OwnRate, rateOnOf, regionalIn } from './rates-of.ts'
import type { Buyer, Seller, TaxContext } from './tax.ts'
import { noTax, type TaxOf } from './tax-port.ts'

type BuyerRow = [
  customerId: string,
  key: string,
  kind: Buyer['kind'],
  country: string | null,
  zone: string,
  taxIds: Buyer['taxIds'],
  taxExemption: Buyer['taxExemption'],
  sellerId: string | null,
  address: Buyer['address'],
  region: string | null,
]
type TaxesRow = { sellers: Seller[]; rates: OwnRate[]; buyers: BuyerRow[] }

/** Who sells to the customers, and with which tax, in one statement for all; of a tenant without a legal entity nothing. */
export async function loadTaxes(tx: TenantTransaction, customerIds: readonly string[]): Promise<TaxOf> {
  const { rows } = await tx.query<TaxesRow>(
    `SELECT
       (SELECT coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'country', e.country, 'registrations',
            e.tax_registrations, 'tax', jsonb_build_object('enabled', e.tax_enabled, 'engine', e.tax_engine, 'rounding', e.tax_rounding,
            'inclusive', e.tax_inclusive, 'euConsumers', e.eu_consumers, 'codes', e.tax_codes)) ORDER BY e.is_default DESC), '[]')
        FROM legal_entities e) AS sellers,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('country', r.country, 'region', r.region,
            'taxClass', r.tax_class, 'kind', r.kind, 'ratePercent',
            trim_scale(r.rate_percent)::text, 'from', to_char(r.effective_from, 'YYYY-MM-DD'),
            'until', to_char(r.effective_until, 'YYYY-MM-DD'))), '[]')
        FROM tax_rates r) AS rates,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(c.id, c.external_key, c.kind, c.billing_address ->> 'country',
            c.timezone, c.tax_ids, c.tax_exemption, c.legal_entity_id,
            CASE WHEN EXISTS (SELECT FROM legal_entities WHERE tax_engine <> 'embedded') THEN c.billing_address END,
            CASE WHEN EXISTS (SELECT FROM tax_rates WHERE region IS NOT NULL) THEN c.billing_address ->> 'region' END)),
            '[]')
        FROM customers c
        WHERE c.id = ANY ($1::uuid[]) AND EXISTS (SELECT FROM legal_entities)) AS buyers`,
    [idArray([...new Set(customerIds)])],
  )
  const [row] = rows
  return row === undefined || row.sellers.length === 0 ? noTax : taxOfRow(row)
}

function taxOfRow({ sellers, rates, buyers }: TaxesRow): TaxOf {
  const rateOn = rateOnOf(rates)
  const regional = regionalIn(rates)
  const sellerOf = new Map(sellers.map((seller) => [seller.id, seller]))
  const contexts = new Map<string, TaxContext>()
  for (const [customerId, key, kind, country, zone, taxIds, taxExemption, sellerId, address, region] of buyers) {
    const seller = sellerId === null ? sellers[0] : sellerOf.get(sellerId)
    if (seller === undefined) throw new Error(`Legal entity ${sellerId} is not there.`)
    const buyer = { key, kind, country, region, zone, taxIds, taxExemption, address }
    contexts.set(customerId, { seller, buyer, rateOn, regional })
  }
  return (customerId, sellerId) => {
    const context = contexts.get(customerId)
    if (context === undefined || sellerId === undefined || sellerId === context.seller.id) return context
    const seller = sellerOf.get(sellerId)
    if (seller === undefined) throw new Error(`Legal entity ${sellerId} is not there.`)
    return { ...context, seller }
  }
}
