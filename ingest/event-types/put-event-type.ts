import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { compileEventType, type UnknownFields } from './avro-schema.ts'
import { incompatibilities } from './compatibility.ts'
import { findEventType, type StoredEventType, storeEventType } from './event-type.postgres.ts'
import type { JsonObject } from './json.ts'

const TYPE = /^[!-~]{1,128}$/

/**
 * Registers the Avro schema of an event type, or a new version of it: one that cannot read what was accepted before
 * is refused with the fields at fault. The same registration again changes nothing; what it does not say about unknown
 * fields is that they are refused.
 */
export async function putEventType(
  deps: { pool: Pool; now: () => number },
  tenant: TenantId,
  type: string,
  schema: unknown,
  unknownFields: UnknownFields = 'refuse',
): Promise<StoredEventType> {
  if (!TYPE.test(type))
    throw new Problem('invalid_request', 'An event type is 1 to 128 printable characters without spaces')
  const compiled = compileEventType(schema)
  return withTenant(deps.pool, tenant, async (tx) => {
    const before = await findEventType(tx, type)
    if (before && before.unknown_fields === unknownFields && sameSchema(before.schema, compiled.schema)) return before
    const errors = before ? incompatibilities(before.schema, compiled.schema) : []
    if (errors.length > 0) {
      const detail = `The schema cannot read events accepted before: ${errors[0]?.path}: ${errors[0]?.message}`
      throw new Problem('incompatible_schema', detail, { errors })
    }
    const stored = { type, version: before?.version ?? 0, schema: compiled.schema, unknown_fields: unknownFields }
    if (!(await storeEventType(tx, stored, new Date(deps.now())))) {
      throw new Problem('conflict', `Event type ${type} was changed at the same time: look at it and try again`)
    }
    return { ...stored, version: stored.version + 1 }
  })
}

function sameSchema(stored: unknown, normal: JsonObject): boolean {
  return JSON.stringify(compileEventType(stored).schema) === JSON.stringify(normal)
}
