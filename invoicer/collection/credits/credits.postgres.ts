import type { Pool } from 'pg'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, sparseArray, textArray, timeArray } from '../../array-text.ts'
import type { Page } from '../../transaction.ts'
import type { CreditGrant, CreditUse, OpenCredit } from './credit.ts'
import type { CreditScope, Rollover } from './terms.ts'

type GrantRow = {
  id: string
  external_key: string | null
  customer_id: string
  name: string | null
  currency: string
  amount_minor: string
  remaining_minor: string
  balance_minor: string
  priority: number
  expires_at: Date | null
  scope: CreditScope | null
  rollover: Rollover | null
  schedule_id: string | null
  schedule_index: number | null
  rolled_from: string | null
  purchase_id: string | null
  created_at: Date
}

const GRANT = `
  SELECT id, external_key, customer_id, name, currency, amount_minor, remaining_minor, balance_minor, priority,
    expires_at, scope, rollover, schedule_id, schedule_index, rolled_from,
    purchase_id, created_at
  FROM credit_grants`

/** In which a customer's grants pay, and in which they are locked everywhere. */
export const GRANT_ORDER = 'customer_id, priority, expires_at NULLS LAST, created_at, id'

/** Until the end of the transaction nobody else gives this customer credit. */
export async function lockCreditOf(tx: TenantTransaction, customerId: string): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtextextended('credit ' || $1::text, app_tenant()))", [customerId])
}

/** Their external keys, if they have any, are free: behind `lockCreditOf` and `findGrantByKey`. */
export async function insertGrants(tx: TenantTransaction, grants: readonly CreditGrant[]): Promise<void> {
  await tx.query(
    `INSERT INTO credit_grants
       (tenant_id, id, external_key, customer_id, name, currency, amount_minor, remaining_minor, balance_minor, priority,
        expires_at, created_at, scope, rollover, schedule_id, schedule_index, rolled_from,
        purchase_id)
     SELECT app_tenant(), n.*
     FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
       $9::smallint[], $10::timestamptz[], $11::timestamptz[], $12::jsonb[], $13::jsonb[], $14::uuid[], $15::integer[],
       $16::uuid[], $17::uuid[]) AS n`,
    [
      idArray(grants.map((grant) => grant.id)),
      textArray(grants.map((grant) => grant.externalKey)),
      idArray(grants.map((grant) => grant.customerId)),
      textArray(grants.map((grant) => grant.name)),
      textArray(grants.map((grant) => grant.currency)),
      plainArray(grants.map((grant) => grant.amountMinor)),
      plainArray(grants.map((grant) => grant.remainingMinor)),
      plainArray(grants.map((grant) => grant.balanceMinor)),
      plainArray(grants.map((grant) => grant.priority)),
      timeArray(grants.map((grant) => grant.expiresAtMs)),
      timeArray(grants.map((grant) => grant.createdAtMs)),
      textArray(grants.map((grant) => jsonOrNull(grant.scope))),
      textArray(grants.map((grant) => jsonOrNull(grant.rollover))),
      idArray(grants.map((grant) => grant.scheduleId)),
      sparseArray(grants.map((grant) => grant.scheduleIndex?.toString())),
      idArray(grants.map((grant) => grant.rolledFrom)),
      idArray(grants.map((grant) => grant.purchaseId)),
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

export type ScopeBalance = { scope: CreditScope | null; balanceMinor: bigint }
type BalancesRow = { balances: { scope: CreditScope | null; balance: string }[] }

/** What a customer has left that has not expired by what it may pay, and a page of its grants, all as of one moment. */
export async function listGrants(
  tx: TenantTransaction,
  customerId: string,
  page: Page,
  atMs: number,
): Promise<{ balances: ScopeBalance[]; grants: CreditGrant[] }> {
  const { rows } = await tx.query<BalancesRow & (GrantRow | { id: null })>(
    `SELECT b.balances, g.*
     FROM (SELECT coalesce(jsonb_agg(jsonb_build_object('scope', s.scope, 'balance', s.balance::text)
                                     ORDER BY s.scope NULLS FIRST), '[]') AS balances
           FROM (SELECT scope, sum(remaining_minor) AS balance FROM credit_grants
                 WHERE customer_id = $1 AND remaining_minor > 0 AND (expires_at IS NULL OR expires_at > $4)
                 GROUP BY scope) AS s) AS b
     LEFT JOIN (${GRANT} WHERE customer_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3) AS g ON true
     ORDER BY g.id`,
    [customerId, page.after, page.limit, new Date(atMs)],
  )
  const grants = rows.flatMap((row) => (row.id === null ? [] : [grantFromRow(row)]))
  const balances = (rows[0]?.balances ?? []).map(({ scope, balance }) => ({ scope, balanceMinor: BigInt(balance) }))
  return { balances, grants }
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
  const { rows } = await tx.query<OpenRow>(`${OPEN_CREDIT} ORDER BY ${GRANT_ORDER} FOR NO KEY UPDATE`, [
    idArray(customerIds),
    new Date(atMs),
  ])
  return rows.map(openFromRow)
}

/** The same, to look only. */
export async function listOpenCredit(
  tx: TenantTransaction,
  customerIds: readonly string[],
  atMs: number,
): Promise<OpenCredit[]> {
  const { rows } = await tx.query<OpenRow>(`${OPEN_CREDIT} ORDER BY ${GRANT_ORDER}`, [
    idArray(customerIds),
    new Date(atMs),
  ])
  return rows.map(openFromRow)
}

type OpenRow = Pick<GrantRow, 'id' | 'customer_id' | 'currency' | 'remaining_minor' | 'scope'>

const OPEN_CREDIT = `
  SELECT id, customer_id, currency, remaining_minor, scope FROM credit_grants
  WHERE customer_id = ANY ($1::uuid[]) AND remaining_minor > 0 AND (expires_at IS NULL OR expires_at > $2)`

function openFromRow(row: OpenRow): OpenCredit {
  return {
    grantId: row.id,
    customerId: row.customer_id,
    currency: row.currency,
    remainingMinor: BigInt(row.remaining_minor),
    scope: row.scope,
  }
}

/** Of which nothing rolls over; in the order in which they are locked everywhere. */
export async function lockExpired(
  tx: TenantTransaction,
  atMs: number,
  most: number,
): Promise<Pick<CreditGrant, 'id' | 'customerId' | 'currency' | 'remainingMinor'>[]> {
  const { rows } = await tx.query<Pick<GrantRow, 'id' | 'customer_id' | 'currency' | 'remaining_minor'>>(
    `SELECT id, customer_id, currency, remaining_minor FROM credit_grants
     WHERE remaining_minor > 0 AND expires_at <= $1 AND rollover IS NULL
     ORDER BY ${GRANT_ORDER} LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED`,
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
    `INSERT INTO credit_uses (tenant_id, at, id, grant_id, kind, amount_minor, invoice_id, to_grant_id)
     SELECT app_tenant(), $1, n.*
     FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::uuid[], $7::uuid[]) AS n`,
    [
      new Date(atMs),
      idArray(uses.map(({ id }) => id)),
      idArray(uses.map(({ grantId }) => grantId)),
      textArray(uses.map(({ kind }) => kind)),
      plainArray(uses.map(({ amountMinor }) => amountMinor)),
      idArray(uses.map(({ invoiceId }) => invoiceId)),
      idArray(uses.map(({ toGrantId }) => toGrantId)),
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
    to_grant_id: string | null
    at: Date
  }>(
    `SELECT u.id, u.grant_id, u.kind, u.amount_minor, u.invoice_id, u.to_grant_id, u.at
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
    toGrantId: row.to_grant_id,
    atMs: row.at.getTime(),
  }))
}

/** Those of the slugs that name no meter. */
export async function listUnknownMeters(tx: TenantTransaction, slugs: readonly string[]): Promise<string[]> {
  const { rows } = await tx.query<{ slug: string }>(
    `SELECT n.slug FROM unnest($1::text[]) AS n (slug)
     WHERE NOT EXISTS (SELECT FROM meters m WHERE m.tenant_id = app_tenant() AND m.slug = n.slug) ORDER BY 1`,
    [textArray(slugs)],
  )
  return rows.map((row) => row.slug)
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
    scope: row.scope,
    rollover: row.rollover,
    scheduleId: row.schedule_id,
    scheduleIndex: row.schedule_index,
    rolledFrom: row.rolled_from,
    purchaseId: row.purchase_id,
    createdAtMs: row.created_at.getTime(),
  }
}

function jsonOrNull(value: CreditScope | Rollover | null): string | null {
  return value === null ? null : JSON.stringify(value)
}
