import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { BillingDetails, Customer } from './customer.ts'

type CustomerRow = {
  id: string
  external_key: string
  name: string | null
  email: string | null
  stripe_customer_id: string | null
  currency: string
  timezone: string
  subjects: string[]
  kind: Customer['kind']
  billing_address: Customer['billingAddress']
  tax_ids: Customer['taxIds']
  tax_exemption: Customer['taxExemption']
  legal_entity: string | null
  parent: string | null
  pays: Customer['pays']
  consolidates: boolean
  created_at: Date
}

const CUSTOMER = `
  SELECT c.id, c.external_key, c.name, c.email, c.stripe_customer_id, c.currency, c.timezone, c.created_at,
    c.kind, c.billing_address, c.tax_ids, c.tax_exemption, e.key AS legal_entity, a.external_key AS parent, c.pays,
    c.consolidates,
    ARRAY(SELECT s.subject FROM customer_subjects s WHERE s.tenant_id = c.tenant_id AND s.customer_id = c.id
          ORDER BY s.subject COLLATE "C") AS subjects
  FROM customers c
  LEFT JOIN legal_entities e ON e.tenant_id = c.tenant_id AND e.id = c.legal_entity_id
  LEFT JOIN customers a ON a.tenant_id = c.tenant_id AND a.id = c.parent_id`

/** False if the external key is taken; waits for a transaction that is about to take it. */
export async function insertCustomer(tx: TenantTransaction, customer: Customer): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO customers
       (tenant_id, id, external_key, name, email, currency, timezone, created_at, kind, billing_address, tax_ids,
        tax_exemption, legal_entity_id)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, (SELECT id FROM legal_entities WHERE key = $12))
     ON CONFLICT (tenant_id, external_key) DO NOTHING`,
    [
      customer.id,
      customer.externalKey,
      customer.name,
      customer.email,
      customer.currency,
      customer.timezone,
      new Date(customer.createdAtMs),
      ...detailColumns(customer),
    ],
  )
  return rowCount === 1
}

/** Until the end of the transaction nobody else changes it. */
export async function lockCustomer(tx: TenantTransaction, id: string): Promise<void> {
  await tx.query('SELECT FROM customers WHERE tenant_id = app_tenant() AND id = $1 FOR NO KEY UPDATE', [id])
}

export async function updateDetails(tx: TenantTransaction, customer: Customer): Promise<void> {
  await tx.query(
    `UPDATE customers SET kind = $2, billing_address = $3, tax_ids = $4, tax_exemption = $5,
       legal_entity_id = (SELECT id FROM legal_entities WHERE key = $6)
     WHERE tenant_id = app_tenant() AND id = $1`,
    [customer.id, ...detailColumns(customer)],
  )
}

function detailColumns({ kind, billingAddress, taxIds, taxExemption, legalEntity }: BillingDetails): unknown[] {
  return [kind, jsonOrNull(billingAddress), JSON.stringify(taxIds), jsonOrNull(taxExemption), legalEntity]
}

function jsonOrNull(value: object | null): string | null {
  return value === null ? null : JSON.stringify(value)
}

/** The subjects that were free and now belong to the customer. */
export async function insertSubjects(
  tx: TenantTransaction,
  customerId: string,
  subjects: readonly string[],
): Promise<string[]> {
  const { rows } = await tx.query<{ subject: string }>(
    `INSERT INTO customer_subjects (tenant_id, subject, customer_id)
     SELECT app_tenant(), s.subject, $2 FROM unnest($1::text[]) AS s (subject)
     ON CONFLICT (tenant_id, subject) DO NOTHING RETURNING subject`,
    [subjects, customerId],
  )
  return rows.map((row) => row.subject)
}

/** An id wins over an external key that looks like one. */
export async function findCustomer(tx: TenantTransaction, idOrKey: string): Promise<Customer | undefined> {
  const { rows } = await tx.query<CustomerRow>(
    `${CUSTOMER} WHERE c.id = $1::uuid OR c.external_key = $2 ORDER BY c.id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  return rows.map(fromRow)[0]
}

export async function findCustomerByKey(tx: TenantTransaction, externalKey: string): Promise<Customer | undefined> {
  const { rows } = await tx.query<CustomerRow>(`${CUSTOMER} WHERE c.external_key = $1`, [externalKey])
  return rows.map(fromRow)[0]
}

export async function listCustomers(
  tx: TenantTransaction,
  filter: { externalKey: string | null; parent: string | null },
  page: Page,
): Promise<Customer[]> {
  const { rows } = await tx.query<CustomerRow>(
    `${CUSTOMER} WHERE ($1::text IS NULL OR c.external_key = $1) AND ($2::uuid IS NULL OR c.id > $2)
       AND ($4::text IS NULL OR c.parent_id = (SELECT p.id FROM customers p WHERE p.external_key = $4))
     ORDER BY c.id LIMIT $3`,
    [filter.externalKey, page.after, page.limit, filter.parent],
  )
  return rows.map(fromRow)
}

function fromRow(row: CustomerRow): Customer {
  return {
    id: row.id,
    externalKey: row.external_key,
    name: row.name,
    email: row.email,
    stripeCustomerId: row.stripe_customer_id,
    currency: row.currency,
    timezone: row.timezone,
    subjects: row.subjects,
    kind: row.kind,
    billingAddress: row.billing_address,
    taxIds: row.tax_ids,
    taxExemption: row.tax_exemption,
    legalEntity: row.legal_entity,
    parent: row.parent,
    pays: row.pays,
    consolidate: row.consolidates,
    createdAtMs: row.created_at.getTime(),
  }
}
