import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { findLegalEntity } from './legal-entities.postgres.ts'
import type { LegalEntity } from './legal-entity.ts'

/** @throws Problem not_found. Another tenant's legal entity is not there either. */
export async function readLegalEntity(tx: TenantTransaction, key: string): Promise<LegalEntity> {
  const entity = await findLegalEntity(tx, key)
  if (entity === undefined) throw new Problem('not_found', 'There is no legal entity with this key.')
  return entity
}
