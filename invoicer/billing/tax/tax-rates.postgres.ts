import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Page } from '../../transaction.ts'
import type { OwnRate } from './rates-of.ts'

/** A stored rate of the tenant's own. */
export type TaxRate = OwnRate & { id: string; createdAtMs: number }

type RateRow = {
  id: string
  country: string
  region: string | null
  tax_class: string | null
  kind: string
  rate_percent: string
  effective_from: string
  effective_until: string | null
  created_at: Date
}

const RATE = `
  SELECT id, country, region, tax_class, kind, trim_scale(rate_percent)::text AS rate_percent,
    to_char(effective_from, 'YYYY-MM-DD') AS effective_from, to_char(effective_until, 'YYYY-MM-DD') AS effective_until,
    created_at
  FROM tax_rates`

/** False if the place has a rate of the class from that day on; waits for a transaction that is about to add it. */
export async function insertTaxRate(tx: TenantTransaction, rate: TaxRate): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO tax_rates (tenant_id, id, country, region, tax_class, kind, rate_percent, effective_from,
       effective_until, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9)
     ON CONFLICT (tenant_id, country, region, tax_class, effective_from) DO NOTHING`,
    [
      ...[rate.id, rate.country, rate.region, rate.taxClass, rate.kind, rate.ratePercent, rate.from, rate.until],
      new Date(rate.createdAtMs),
    ],
  )
  return rowCount === 1
}

export async function findTaxRate(
  tx: TenantTransaction,
  { country, region, taxClass, from }: Pick<TaxRate, 'country' | 'region' | 'taxClass' | 'from'>,
): Promise<TaxRate | undefined> {
  const { rows } = await tx.query<RateRow>(
    `${RATE} WHERE country = $1 AND effective_from = $2 AND region IS NOT DISTINCT FROM $3
       AND tax_class IS NOT DISTINCT FROM $4`,
    [country, from, region, taxClass],
  )
  return rows.map(fromRow)[0]
}

export async function listTaxRates(tx: TenantTransaction, country: string | null, page: Page): Promise<TaxRate[]> {
  const { rows } = await tx.query<RateRow>(
    `${RATE} WHERE ($1::text IS NULL OR country = $1) AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3`,
    [country, page.after, page.limit],
  )
  return rows.map(fromRow)
}

function fromRow(row: RateRow): TaxRate {
  return {
    id: row.id,
    country: row.country,
    region: row.region,
    taxClass: row.tax_class,
    kind: row.kind,
    ratePercent: row.rate_percent,
    from: row.effective_from,
    until: row.effective_until,
    createdAtMs: row.created_at.getTime(),
  }
}
