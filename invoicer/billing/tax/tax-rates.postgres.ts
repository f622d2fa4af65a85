import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Page } from '../../transaction.ts'
import type { OwnRate } from './rates-of.ts'

/** A stored rate of the tenant's own. */
export type TaxRate = OwnRate & { id: string; createdAtMs: number }

type RateRow = {
  id: string
  country: string
  kind: string
  rate_percent: string
  effective_from: string
  effective_until: string | null
  created_at: Date
}

const RATE = `
  SELECT id, country, kind, trim_scale(rate_percent)::text AS rate_percent,
    to_char(effective_from, 'YYYY-MM-DD') AS effective_from, to_char(effective_until, 'YYYY-MM-DD') AS effective_until,
    created_at
  FROM tax_rates`

/** False if the country has a rate from that day on; waits for a transaction that is about to add it. */
export async function insertTaxRate(tx: TenantTransaction, rate: TaxRate): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO tax_rates (tenant_id, id, country, kind, rate_percent, effective_from, effective_until, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (tenant_id, country, effective_from) DO NOTHING`,
    [rate.id, rate.country, rate.kind, rate.ratePercent, rate.from, rate.until, new Date(rate.createdAtMs)],
  )
  return rowCount === 1
}

export async function findTaxRate(tx: TenantTransaction, country: string, from: string): Promise<TaxRate | undefined> {
  const { rows } = await tx.query<RateRow>(`${RATE} WHERE country = $1 AND effective_from = $2`, [country, from])
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
    kind: row.kind,
    ratePercent: row.rate_percent,
    from: row.effective_from,
    until: row.effective_until,
    createdAtMs: row.created_at.getTime(),
  }
}
