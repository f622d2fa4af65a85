import { isDeepStrictEqual } from 'node:util'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { AnomalyRules, Approval } from './rules.ts'
import { findSettings, lockSettings, type StoredSettings, upsertSettings } from './settings.postgres.ts'

export type ChangeSettings = { approval?: Approval; rules?: Partial<AnomalyRules> }

/**
 * Changes what is given and leaves the rest; the same again changes nothing. It holds for runs that come to their review
 * from now on: one that waits for its approval goes on waiting. `by` is kept in the history.
 */
export async function changeSettings(
  tx: TenantTransaction,
  change: ChangeSettings,
  by: string,
  means: Means,
): Promise<StoredSettings> {
  await lockSettings(tx)
  const { updatedAtMs, ...stored } = await findSettings(tx)
  const changed = { approval: change.approval ?? stored.approval, rules: { ...stored.rules, ...change.rules } }
  if (isDeepStrictEqual(changed, stored)) return { ...stored, updatedAtMs }
  const atMs = means.now()
  await upsertSettings(tx, changed, atMs)
  const event = 'billing_run.settings_changed'
  await insertBillingEvents(tx, [{ id: means.newId(), event, data: { by, before: stored, after: changed } }], atMs)
  return { ...changed, updatedAtMs: atMs }
}
