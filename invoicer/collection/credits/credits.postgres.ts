import type { Pool } from 'pg'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray } from '../../array-text.ts'
import type { Page } from '../../transaction.ts'
import type { CreditGrant, CreditUse, OpenCredit } from './credit.ts'

type GrantRow = {
  id: string
  external_key: string
  customer_id: string
  name: string | null
  currency: string
  amount_minor: string
  remaining_minor: string
  balance_minor: string
  priority: number
  expires_at: Date | null
  created_at: Date
}

const GRANT = `
  SELECT id, external_key, customer_id, name, currency, amount_minor, remaining_minor, balance_minor, priority,
    expires_at, created_at
  FROM credit_grants`

/** Until the end of the transaction nobody else gives this customer credit. */
export async function lockCreditOf(tx: TenantTransaction, customerId: string): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtextextended('credit ' || $1::text, app_tenant()))", [customerId])
}

/** Behind `lockCreditOf` and `findGrantByKey`: its external key is free. */
export async function insertGrant(tx: TenantTransaction, grant: CreditGrant): Promise<void> {
  await tx.query(
    `INSERT INTO credit_grants
       (tenant_id, id, external_key, customer_id, name, currency, amount_minor, remaining_minor, balance_minor, priority,
        expires_at, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      ...[grant.id, grant.externalKey, grant.customerId, grant.name, grant.currency],
      ...[grant.amountMinor, grant.remainingMinor, grant.balanceMinor, grant.priority],
      grant.expiresAtMs === null ? null : new Date(grant.expiresAtMs),
      new Date(grant.createdAtMs),
    ],
  )
}

export async function findGrantByKey(
  tx: TenantTransaction,
  customerId: string,
  externalKey: string,
): Promise<CreditGrant | undefined> {
  const { rows } = await tx.query<GrantRow>(`${GRANT} WHERE customer_id = $1 AND external_key = $2`, [
    customerId,
    externalKey,
  ])
  return rows.map(grantFromRow)[0]
}

/** What a customer has left that has not expired, and a page of its grants, all as of one moment. */
export async function listGrants(
  tx: TenantTransaction,
  customerId: string,
  page: Page,
  atMs: number,
): Promise<{ balanceMinor: bigint; grants: CreditGrant[] }> {
  const { rows } = await tx.query<{ balance: string } & (GrantRow | { id: null })>(
    `SELECT b.balance, g.*
     FROM (SELECT coalesce(sum(remaining_minor), 0)::bigint AS balance FROM credit_grants
           WHERE customer_id = $1 AND remaining_minor > 0 AND (expires_at IS NULL OR expires_at > $4)) AS b
     LEFT JOIN (${GRANT} WHERE customer_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3) AS g ON true
     ORDER BY g.id`,
    [customerId, page.after, page.limit, new Date(atMs)],
  )
  const grants = rows.flatMap((row) => (row.id === null ? [] : [grantFromRow(row)]))
  return { balanceMinor: BigInt(rows[0]?.balance ?? 0), grants }
}

/** What a customer has left that has not expired. */
export async function readBalance(tx: TenantTransaction, customerId: string, atMs: number): Promise<bigint> {
  const { rows } = await tx.query<{ balance: string }>(
    `SELECT coalesce(sum(remaining_minor), 0)::bigint AS balance FROM credit_grants
     WHERE customer_id = $1 AND remaining_minor > 0 AND (expires_at IS NULL OR expires_at > $2)`,
    [customerId, new Date(atMs)],
  )
  return BigInt(rows[0]?.balance ?? 0)
}

/** The grants of customers that can pay, in the order in which they do; nobody else uses them until the end of `tx`. */
export async function lockOpenCredit(
  tx: TenantTransaction,
  customerIds: readonly string[],
  atMs: number,
): Promise<OpenCredit[]> {
  const { rows } = await tx.query<Pick<GrantRow, 'id' | 'customer_id' | 'currency' | 'remaining_minor'>>(
    `SELECT id, customer_id, currency, remaining_minor FROM credit_grants
     WHERE customer_id = ANY ($1::uuid[]) AND remaining_minor > 0 AND (expires_at IS NULL OR expires_at > $2)
     ORDER BY customer_id, priority, expires_at NULLS LAST, created_at, id FOR NO KEY UPDATE`,
    [idArray(customerIds), new Date(atMs)],
  )
  return rows.map((row) => ({
    grantId: row.id,
    customerId: row.customer_id,
    currency: row.currency,
    remainingMinor: BigInt(row.remaining_minor),
  }))
}

/** In the order in which they are locked everywhere. */
export async function lockExpired(
  tx: TenantTransaction,
  atMs: number,
  most: number,
): Promise<Pick<CreditGrant, 'id' | 'customerId' | 'currency' | 'remainingMinor'>[]> {
  const { rows } = await tx.query<Pick<GrantRow, 'id' | 'customer_id' | 'currency' | 'remaining_minor'>>(
    `SELECT id, customer_id, currency, remaining_minor FROM credit_grants
     WHERE remaining_minor > 0 AND expires_at <= $1
     ORDER BY customer_id, priority, expires_at NULLS LAST, created_at, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED`,
    [new Date(atMs), most],
  )
  return rows.map((row) => ({
    id: row.id,
    customerId: row.customer_id,
    currency: row.currency,
    remainingMinor: BigInt(row.remaining_minor),
  }))
}

export async function takeOff(
  tx: TenantTransaction,
  parts: readonly { grantId: string; amountMinor: bigint }[],
): Promise<void> {
  await tx.query(
    `UPDATE credit_grants g SET remaining_minor = g.remaining_minor - n.amount
     FROM (SELECT id, sum(amount)::bigint AS amount FROM unnest($1::uuid[], $2::bigint[]) AS part (id, amount) GROUP BY id)
       AS n
     WHERE g.tenant_id = app_tenant() AND g.id = n.id`,
    [idArray(parts.map(({ grantId }) => grantId)), plainArray(parts.map(({ amountMinor }) => amountMinor))],
  )
}

export async function insertUses(
  tx: TenantTransaction,
  uses: readonly Omit<CreditUse, 'atMs'>[],
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO credit_uses (tenant_id, at, id, grant_id, kind, amount_minor, invoice_id)
     SELECT app_tenant(), $1, n.*
     FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::uuid[]) AS n`,
    [
      new Date(atMs),
      idArray(uses.map(({ id }) => id)),
      idArray(uses.map(({ grantId }) => grantId)),
      textArray(uses.map(({ kind }) => kind)),
      plainArray(uses.map(({ amountMinor }) => amountMinor)),
      idArray(uses.map(({ invoiceId }) => invoiceId)),
    ],
  )
}

export async function listUses(tx: TenantTransaction, customerId: string, page: Page): Promise<CreditUse[]> {
  const { rows } = await tx.query<{
    id: string
    grant_id: string
    kind: CreditUse['kind']
    amount_minor: string
    invoice_id: string | null
    at: Date
  }>(
    `SELECT u.id, u.grant_id, u.kind, u.amount_minor, u.invoice_id, u.at
     FROM credit_uses u JOIN credit_grants g ON g.tenant_id = u.tenant_id AND g.id = u.grant_id
     WHERE g.customer_id = $1 AND ($2::uuid IS NULL OR u.id > $2) ORDER BY u.id LIMIT $3`,
    [customerId, page.after, page.limit],
  )
  return rows.map((row) => ({
    id: row.id,
    grantId: row.grant_id,
    kind: row.kind,
    amountMinor: BigInt(row.amount_minor),
    invoiceId: row.invoice_id,
    atMs: row.at.getTime(),
  }))
}

export async function tenantsWithExpiredCredit(pool: Pool, atMs: number): Promise<TenantId[]> {
  const { rows } = await pool.query<{ tenant_id: TenantId }>('SELECT tenant_id FROM tenants_with_expired_credit($1)', [
    new Date(atMs),
  ])
  return rows.map((row) => row.tenant_id)
}

function grantFromRow(row: GrantRow): CreditGrant {
  return {
    id: row.id,
    externalKey: row.external_key,
    customerId: row.customer_id,
    name: row.name,
    currency: row.currency,
    amountMinor: BigInt(row.amount_minor),
    remainingMinor: BigInt(row.remaining_minor),
    balanceMinor: BigInt(row.balance_minor),
    priority: row.priority,
    expiresAtMs: row.expires_at?.getTime() ?? null,
    createdAtMs: row.created_at.getTime(),
  }
}
