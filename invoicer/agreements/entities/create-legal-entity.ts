import { isDeepStrictEqual } from 'node:util'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { checkEntity } from './check-entity.ts'
import { findLegalEntity, insertLegalEntity } from './legal-entities.postgres.ts'
import type { LegalEntity } from './legal-entity.ts'

export type CreateLegalEntity = Omit<LegalEntity, 'id' | 'createdAtMs'>

/**
 * Creates a legal entity once per key: the same content again answers the stored one. The tenant's first one issues the
 * invoices of every customer that names none, from then on and for good.
 * @throws Problem invalid_request for what is no country, currency or prefix, and for tax without a registration;
 * conflict for other content under the same key, or a prefix that another one has.
 */
export async function createLegalEntity(
  tx: TenantTransaction,
  input: CreateLegalEntity,
  means: Means,
): Promise<{ entity: LegalEntity; created: boolean }> {
  const errors = checkEntity(input)
  if (errors.length > 0) throw new Problem('invalid_request', 'The legal entity is not valid.', { errors })
  const entity: LegalEntity = { ...input, id: means.newId(), createdAtMs: means.now() }
  if (!(await insertLegalEntity(tx, entity))) return { entity: await storedEntity(tx, entity), created: false }
  const data = {
    legal_entity: entity.key,
    country: entity.country,
    number_prefix: entity.numberPrefix,
    tax_registrations: entity.registrations,
    tax: entity.tax,
  }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'legal_entity.created', data }], entity.createdAtMs)
  return { entity, created: true }
}

async function storedEntity(tx: TenantTransaction, wanted: LegalEntity): Promise<LegalEntity> {
  const stored = await findLegalEntity(tx, wanted.key)
  if (stored === undefined) {
    throw new Problem('conflict', `Another legal entity has the number prefix ${JSON.stringify(wanted.numberPrefix)}.`)
  }
  if (isDeepStrictEqual(stored, { ...wanted, id: stored.id, createdAtMs: stored.createdAtMs })) return stored
  const key = JSON.stringify(wanted.key)
  throw new Problem('conflict', `Legal entity ${key} exists with other content: change it with PATCH.`)
}
