import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, textArray, timeArray } from '../../array-text.ts'
import type { ChargeDiscounts } from './charge-discounts.ts'

/** Where a charge of a period was billed; null: nowhere. A fee has no meter. */
export type BilledPlace = { invoiceId: string | null; chargeKey: string; meter: string | null; startMs: number }

/** What discounts took off charges as invoices billed them, in the order of the places; null where there were none. */
export async function listChargeDiscounts(
  tx: TenantTransaction,
  places: readonly BilledPlace[],
): Promise<(ChargeDiscounts | null)[]> {
  if (places.every(({ invoiceId }) => invoiceId === null)) return places.map(() => null)
  const { rows } = await tx.query<{
    place: number
    gross_minor: string
    percent_off: string
    amount_off: string
    percents: string[]
  }>(
    `SELECT n.place::integer AS place,
       coalesce(sum(l.amount_minor) FILTER (WHERE l.discount_id IS NULL
         AND l.breakdown -> 0 ->> 'type' IS DISTINCT FROM 'progressive'), 0) AS gross_minor,
       coalesce(-sum(l.amount_minor) FILTER (WHERE c.percent IS NOT NULL), 0) AS percent_off,
       coalesce(-sum(l.amount_minor) FILTER (WHERE c.amount_minor IS NOT NULL), 0) AS amount_off,
       ARRAY(SELECT trim_scale(k.percent)::text FROM invoice_discounts a
             JOIN discounts g ON g.tenant_id = a.tenant_id AND g.id = a.discount_id
             JOIN coupons k ON k.tenant_id = g.tenant_id AND k.id = g.coupon_id
             WHERE a.invoice_id = n.invoice_id AND k.percent IS NOT NULL
               AND (k.charge_keys IS NULL OR n.charge_key = ANY (k.charge_keys)) ORDER BY g.id) AS percents
     FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) WITH ORDINALITY
       AS n (invoice_id, charge_key, meter, period_start, place)
     JOIN invoice_lines l ON l.tenant_id = app_tenant() AND l.invoice_id = n.invoice_id
       AND l.charge_key = n.charge_key AND l.meter IS NOT DISTINCT FROM n.meter AND l.period_start = n.period_start
     LEFT JOIN discounts d ON d.tenant_id = l.tenant_id AND d.id = l.discount_id
     LEFT JOIN coupons c ON c.tenant_id = d.tenant_id AND c.id = d.coupon_id
     WHERE EXISTS (SELECT FROM invoice_discounts a WHERE a.invoice_id = n.invoice_id)
     GROUP BY n.place, n.invoice_id, n.charge_key`,
    [
      idArray(places.map(({ invoiceId }) => invoiceId)),
      textArray(places.map(({ chargeKey }) => chargeKey)),
      textArray(places.map(({ meter }) => meter)),
      timeArray(places.map(({ startMs }) => startMs)),
    ],
  )
  const found = new Map(rows.map((row) => [row.place, row]))
  return places.map((_, index) => {
    const row = found.get(index + 1)
    if (row === undefined) return null
    return {
      grossMinor: BigInt(row.gross_minor),
      percentOffMinor: BigInt(row.percent_off),
      amountOffMinor: BigInt(row.amount_off),
      percents: row.percents,
    }
  })
}
