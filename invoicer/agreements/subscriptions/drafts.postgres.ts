import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull, type Page } from '../../transaction.ts'

/** What was asked for, as the door was told it; what is left out is said as it is activated. */
export type DraftContent = Readonly<Record<string, unknown>>
export type SubscriptionDraft = {
  id: string
  externalKey: string
  customerId: string
  content: DraftContent
  state: 'draft' | 'activated' | 'discarded'
  createdAtMs: number
}
type DraftRow = {
  id: string
  external_key: string
  customer_id: string
  content: DraftContent
  state: SubscriptionDraft['state']
  created_at: Date
}

/** $1: as an id, $2: as a key. */
const OF_ID_OR_KEY = `WHERE id = $1::uuid OR external_key = $2
     ORDER BY id = $1::uuid DESC NULLS LAST, state <> 'discarded' DESC, id DESC LIMIT 1`
const COLUMNS = 'id, external_key, customer_id, content, state, created_at'

/** False if the external key is taken by another draft that is not discarded. */
export async function insertDraft(tx: TenantTransaction, draft: SubscriptionDraft): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO subscription_drafts (tenant_id, id, external_key, customer_id, content, state, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6)
     ON CONFLICT (tenant_id, external_key) WHERE state <> 'discarded' DO NOTHING`,
    [draft.id, draft.externalKey, draft.customerId, draft.content, draft.state, new Date(draft.createdAtMs)],
  )
  return rowCount === 1
}

/** An id wins over an external key that looks like one; of one key the living draft, else the latest discarded one. */
export async function findDraft(tx: TenantTransaction, idOrKey: string): Promise<SubscriptionDraft | undefined> {
  const { rows } = await tx.query<DraftRow>(`SELECT ${COLUMNS} FROM subscription_drafts ${OF_ID_OR_KEY}`, [
    idOrNull(idOrKey),
    idOrKey,
  ])
  return rows.map(fromRow)[0]
}

/** Until the end of the transaction nobody else changes it. */
export async function lockDraft(tx: TenantTransaction, idOrKey: string): Promise<SubscriptionDraft | undefined> {
  const { rows } = await tx.query<DraftRow>(`SELECT ${COLUMNS} FROM subscription_drafts ${OF_ID_OR_KEY} FOR UPDATE`, [
    idOrNull(idOrKey),
    idOrKey,
  ])
  return rows.map(fromRow)[0]
}

export async function storeDraft(
  tx: TenantTransaction,
  { id, content, state }: Pick<SubscriptionDraft, 'id' | 'content' | 'state'>,
): Promise<void> {
  await tx.query('UPDATE subscription_drafts SET content = $2, state = $3 WHERE id = $1', [id, content, state])
}

/** Those that are still drafts, in the order in which they came. */
export async function listDrafts(
  tx: TenantTransaction,
  filter: { customer: string | null },
  page: Page,
): Promise<SubscriptionDraft[]> {
  const { rows } = await tx.query<DraftRow>(
    `SELECT ${COLUMNS} FROM subscription_drafts
     WHERE state = 'draft' AND ($1::text IS NULL OR customer_id = (
         SELECT c.id FROM customers c WHERE c.id = $2::uuid OR c.external_key = $1
         ORDER BY c.id = $2::uuid DESC NULLS LAST LIMIT 1))
       AND ($3::uuid IS NULL OR id > $3)
     ORDER BY id LIMIT $4`,
    [filter.customer, idOrNull(filter.customer ?? ''), page.after, page.limit],
  )
  return rows.map(fromRow)
}

function fromRow(row: DraftRow): SubscriptionDraft {
  return {
    id: row.id,
    externalKey: row.external_key,
    customerId: row.customer_id,
    content: row.content,
    state: row.state,
    createdAtMs: row.created_at.getTime(),
  }
}
