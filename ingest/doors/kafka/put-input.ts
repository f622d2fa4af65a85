import type { Pool } from 'pg'
import type { Caller } from '../../../schemas/http/door.ts'
import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { atMost } from './at-most.ts'
import { createAvroDecoder } from './avro-decoder.ts'
import { type KafkaInput, topicFault } from './input.ts'
import { findInput, listInputs, storeInput } from './inputs.postgres.ts'

const MOST_INPUTS = 16
const MOST_SCHEMA_LENGTH = 65_536
/** Each takes a thread with its memory. */
const oneOfTwo = atMost(2)

/** Registers a topic as the tenant's, or changes how it is read. What it was told before is gone. */
export async function putInput(
  deps: { pool: Pool; prefix: string; now: () => number },
  caller: Caller,
  input: KafkaInput,
): Promise<KafkaInput> {
  const fault = topicFault(input.topic, deps.prefix, caller.tenantSlug)
  if (fault) throw invalid([{ path: 'topic', message: fault }])
  if (input.backfill && !caller.permissions.has('billing:usage:backfill')) {
    throw new Problem('forbidden', 'Old events need a key with billing:usage:backfill')
  }
  await checkSchemas(input)
  await withTenant(deps.pool, caller.tenantId, async (tx) => {
    const known = await findInput(tx, input.topic)
    if (!known && (await listInputs(tx)).length >= MOST_INPUTS) {
      throw new Problem('illegal_state', `A tenant has at most ${MOST_INPUTS} Kafka inputs`)
    }
    await storeInput(tx, input, new Date(deps.now()))
  })
  return input
}

/** Schemas are read in the thread that will use them: they come from outside. */
async function checkSchemas({ format, schemas }: KafkaInput): Promise<void> {
  if (format === 'json' && schemas.length > 0)
    throw invalid([{ path: 'schemas', message: 'belong to the format avro' }])
  if (format === 'json') return
  if (schemas.length === 0) throw invalid([{ path: 'schemas', message: 'are missing; send those of your producers' }])
  const ids = schemas.map(({ id }) => id)
  const twice = ids.findIndex((id, index) => ids.indexOf(id) !== index)
  if (twice >= 0) throw invalid([{ path: `schemas.${twice}.id`, message: 'stands twice' }])
  const long = schemas.findIndex(({ schema }) => !isShort(schema))
  if (long >= 0)
    throw unusable([
      { path: `schemas.${long}.schema`, message: `has more than ${MOST_SCHEMA_LENGTH} characters, or nests too deep` },
    ])
  const faults = await oneOfTwo(() => faultsOf(schemas))
  const errors = faults.map(({ index, message }) => ({ path: `schemas.${index}.schema`, message }))
  if (errors.length > 0) throw unusable(errors)
}

async function faultsOf(schemas: KafkaInput['schemas']) {
  const decoder = createAvroDecoder(schemas)
  try {
    return await decoder.check()
  } finally {
    await decoder.stop()
  }
}

function isShort(schema: unknown): boolean {
  try {
    return (JSON.stringify(schema) ?? '').length <= MOST_SCHEMA_LENGTH
  } catch {
    // It nests deeper than it can be written.
    return false
  }
}

function invalid(errors: ProblemError[]): Problem {
  return new Problem('invalid_request', `${errors[0]?.path} ${errors[0]?.message}`, { errors })
}

function unusable(errors: ProblemError[]): Problem {
  return new Problem('invalid_schema', `${errors[0]?.path} ${errors[0]?.message}`, { errors })
}
