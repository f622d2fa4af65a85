import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Page } from '../../transaction.ts'
import type { LegalEntity, TaxSettings } from './legal-entity.ts'

type EntityRow = {
  id: string
  key: string
  name: string
  country: string
  address: LegalEntity['address']
  default_currency: string | null
  number_prefix: string
  tax_registrations: LegalEntity['registrations']
  tax_enabled: boolean
  tax_engine: TaxSettings['engine']
  tax_rounding: TaxSettings['rounding']
  tax_inclusive: boolean
  eu_consumers: TaxSettings['euConsumers']
  tax_codes: NonNullable<TaxSettings['codes']>
  created_at: Date
}

const ENTITY = `
  SELECT id, key, name, country, address, default_currency, number_prefix, tax_registrations, tax_enabled, tax_engine,
    tax_rounding, tax_inclusive, eu_consumers, tax_codes, created_at
  FROM legal_entities`

/**
 * False if the key or the prefix is taken. The tenant's first one is its default for good: whoever adds another waits until
 * it is there.
 */
export async function insertLegalEntity(tx: TenantTransaction, entity: LegalEntity): Promise<boolean> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtextextended('legal entities', app_tenant()))")
  const { rowCount } = await tx.query(
    `INSERT INTO legal_entities
       (tenant_id, id, key, country, default_currency, number_prefix, created_at, name, address, tax_registrations,
        tax_enabled, tax_engine, tax_rounding, tax_inclusive, eu_consumers, tax_codes, is_default)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
       NOT EXISTS (SELECT FROM legal_entities))
     ON CONFLICT DO NOTHING`,
    [
      entity.id,
      entity.key,
      entity.country,
      entity.defaultCurrency,
      entity.numberPrefix,
      new Date(entity.createdAtMs),
      ...changeable(entity),
    ],
  )
  return rowCount === 1
}

export async function updateLegalEntity(tx: TenantTransaction, entity: LegalEntity): Promise<void> {
  await tx.query(
    `UPDATE legal_entities SET name = $2, address = $3, tax_registrations = $4, tax_enabled = $5, tax_engine = $6,
       tax_rounding = $7, tax_inclusive = $8, eu_consumers = $9, tax_codes = $10
     WHERE tenant_id = app_tenant() AND id = $1`,
    [entity.id, ...changeable(entity)],
  )
}

function changeable({ name, address, registrations, tax }: LegalEntity): unknown[] {
  return [
    name,
    address === null ? null : JSON.stringify(address),
    JSON.stringify(registrations),
    tax.enabled,
    tax.engine,
    tax.rounding,
    tax.inclusive,
    tax.euConsumers,
    JSON.stringify(tax.codes ?? {}),
  ]
}

export async function findLegalEntity(tx: TenantTransaction, key: string): Promise<LegalEntity | undefined> {
  const { rows } = await tx.query<EntityRow>(`${ENTITY} WHERE key = $1`, [key])
  return rows.map(fromRow)[0]
}

/** Until the end of the transaction nobody else changes it, nor issues an invoice of it. */
export async function lockLegalEntity(tx: TenantTransaction, key: string): Promise<LegalEntity | undefined> {
  const { rows } = await tx.query<EntityRow>(`${ENTITY} WHERE key = $1 FOR NO KEY UPDATE`, [key])
  return rows.map(fromRow)[0]
}

export async function listLegalEntities(tx: TenantTransaction, page: Page): Promise<LegalEntity[]> {
  const { rows } = await tx.query<EntityRow>(`${ENTITY} WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2`, [
    page.after,
    page.limit,
  ])
  return rows.map(fromRow)
}

function fromRow(row: EntityRow): LegalEntity {
  return {
    id: row.id,
    key: row.key,
    name: row.name,
    country: row.country,
    address: row.address,
    defaultCurrency: row.default_currency,
    numberPrefix: row.number_prefix,
    registrations: row.tax_registrations,
    tax: {
      enabled: row.tax_enabled,
      engine: row.tax_engine,
      rounding: row.tax_rounding,
      inclusive: row.tax_inclusive,
      euConsumers: row.eu_consumers,
      ...(Object.keys(row.tax_codes).length === 0 ? {} : { codes: row.tax_codes }),
    },
    createdAtMs: row.created_at.getTime(),
  }
}
