import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { compileEventType } from './avro-schema.ts'
import { incompatibilities } from './compatibility.ts'
import { findEventType, type StoredEventType, storeEventType } from './event-type.postgres.ts'

const TYPE = /^[!-~]{1,128}$/

/**
 * Registers the Avro schema of an event type, or a new version of it: one that cannot read what was accepted before
 * is refused with the fields at fault. The same schema again changes nothing.
 */
export async function putEventType(
  deps: { pool: Pool; now: () => number },
  tenant: TenantId,
  type: string,
  schema: unknown,
): Promise<StoredEventType> {
  if (!TYPE.test(type))
    throw new Problem('invalid_request', 'An event type is 1 to 128 printable characters without spaces')
  const compiled = compileEventType(schema)
  return withTenant(deps.pool, tenant, async (tx) => {
    const before = await findEventType(tx, type)
    if (before && JSON.stringify(compileEventType(before.schema).schema) === JSON.stringify(compiled.schema))
      return before
    const errors = before ? incompatibilities(before.schema, compiled.schema) : []
    if (errors.length > 0) {
      const detail = `The schema cannot read events accepted before: ${errors[0]?.path}: ${errors[0]?.message}`
      throw new Problem('incompatible_schema', detail, { errors })
    }
    const version = before?.version ?? 0
    if (!(await storeEventType(tx, type, version, compiled.schema, new Date(deps.now())))) {
      throw new Problem('conflict', `Event type ${type} was changed at the same time: look at it and try again`)
    }
    return { type, version: version + 1, schema: compiled.schema }
  })
}
