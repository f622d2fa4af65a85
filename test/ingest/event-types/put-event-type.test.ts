import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { findEventType, listEventTypes } from '../../../ingest/event-types/event-type.postgres.ts'
import { putEventType } from '../../../ingest/event-types/put-event-type.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

type Field = { name: string; type: unknown; default?: unknown }

let database: TestDatabase
let tenant: number
let made = 0

beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())
beforeEach(async () => {
  tenant = await database.createTenant(`t-${made++}`)
})

const schemaOf = (...fields: Field[]) => ({ type: 'record', name: 'Request', fields })
const TOKENS: Field = { name: 'tokens', type: 'int' }
const put = (schema: unknown, type = 'llm.request', owner = tenant) =>
  putEventType({ pool: database.pool, now: () => Date.UTC(2026, 0, 1) }, owner, type, schema)
const stored = (owner = tenant) => withTenant(database.pool, owner, listEventTypes)

async function problemOf(work: Promise<unknown>) {
  const problem = await work.then(
    () => ({ code: 'none', options: {} }),
    (error: { code: string; options: { errors?: { path: string }[] } }) => error,
  )
  return {
    code: problem.code,
    paths: 'errors' in problem.options ? problem.options.errors?.map((one) => one.path) : [],
  }
}

describe('registering', () => {
  test('stores the schema as version 1', async () => {
    expect(await put(schemaOf(TOKENS))).toMatchObject({ type: 'llm.request', version: 1 })
    const found = await withTenant(database.pool, tenant, (tx) => findEventType(tx, 'llm.request'))
    expect(found).toMatchObject({ version: 1, schema: { name: 'Request' } })
  })

  test('the same schema again changes nothing, however it is spelled', async () => {
    await put(schemaOf(TOKENS))
    const spelled = {
      fields: [{ type: { type: 'int' }, name: 'tokens' }],
      name: 'Request',
      type: 'record',
    }
    for (const schema of [schemaOf(TOKENS), spelled]) expect((await put(schema)).version).toBe(1)
  })

  test('a compatible change is the next version', async () => {
    await put(schemaOf(TOKENS))
    const versions: number[] = []
    for (const fields of [
      [{ ...TOKENS, type: 'long' }],
      [
        { ...TOKENS, type: 'long' },
        { name: 'model', type: 'string', default: 'small' },
      ],
      [{ name: 'model', type: ['string', 'null'], default: 'small' }],
    ] satisfies Field[][]) {
      versions.push((await put(schemaOf(...fields))).version)
    }
    expect(versions).toEqual([2, 3, 4])
    expect(await stored()).toHaveLength(1)
  })

  test.each([
    ['a new field without a default', [TOKENS, { name: 'model', type: 'string' }], 'model'],
    ['another kind of value', [{ name: 'tokens', type: 'string' }], 'tokens'],
  ] satisfies [string, Field[], string][])(
    '%s is refused, naming the field; nothing is stored',
    async (_name, fields, path) => {
      await put(schemaOf(TOKENS))
      const problem = await problemOf(put(schemaOf(...fields)))
      expect(problem.code).toBe('incompatible_schema')
      expect(problem.paths?.join()).toContain(path)
      expect(await stored()).toMatchObject([{ version: 1 }])
    },
  )

  test('what is no Avro record, and what is no name of a type, is refused', async () => {
    for (const schema of [
      null,
      'string',
      [],
      {},
      { type: 'array', items: 'int' },
      schemaOf({ name: 'a', type: 'odd' }),
    ])
      expect((await problemOf(put(schema))).code).toBe('invalid_schema')
    for (const type of ['', ' ', 'a b', 'é', 'x'.repeat(129), 'a\n'])
      expect((await problemOf(put(schemaOf(TOKENS), type))).code).toBe('invalid_request')
    expect(await stored()).toEqual([])
  })

  test('of two changes at once one is the next version, and the other is told', async () => {
    await put(schemaOf(TOKENS))
    const change = (name: string) => put(schemaOf(TOKENS, { name, type: 'int', default: 0 }))
    const outcomes = await Promise.allSettled([change('a'), change('b'), change('c'), change('d')])
    const versions = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value.version] : []))
    const codes = outcomes.flatMap((one) => (one.status === 'rejected' ? [(one.reason as { code: string }).code] : []))
    expect(new Set(versions).size).toBe(versions.length)
    expect(codes.every((code) => code === 'conflict' || code === 'incompatible_schema')).toBe(true)
    expect((await stored())[0]?.version).toBe(1 + versions.length)
  })
})

describe('tenants never see each other (EPIC-5)', () => {
  test('the same type of another tenant is another schema, and neither is listed for the other', async () => {
    const other = await database.createTenant(`t-${made++}`)
    await put(schemaOf(TOKENS))
    await put(schemaOf({ name: 'tokens', type: 'string' }), 'llm.request', other)
    await put(schemaOf(TOKENS), 'secret', other)
    expect(await stored()).toMatchObject([{ type: 'llm.request', schema: { fields: [{ type: 'int' }] } }])
    expect(await withTenant(database.pool, tenant, (tx) => findEventType(tx, 'secret'))).toBeUndefined()
    expect((await stored(other)).map(({ type }) => type)).toEqual(['llm.request', 'secret'])
  })

  test('a row of another tenant can be neither written nor changed', async () => {
    const other = await database.createTenant(`t-${made++}`)
    await put(schemaOf(TOKENS), 'llm.request', other)
    await expect(
      withTenant(database.pool, tenant, (tx) =>
        tx.query("INSERT INTO event_types VALUES ($1, 'x', 1, '{}', now())", [other]),
      ),
    ).rejects.toMatchObject({ code: '42501' })
    const { rowCount } = await withTenant(database.pool, tenant, (tx) => tx.query('UPDATE event_types SET version = 9'))
    expect(rowCount).toBe(0)
  })
})
