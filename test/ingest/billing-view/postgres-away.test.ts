import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { TenantConfig } from '../../../ingest/accept/config.ts'
import { createLmdbBillingCache } from '../../../ingest/billing-cache/billing-cache.lmdb.ts'
import { type FindOrganizationDeps, findOrganization } from '../../../ingest/billing-view/find-organization.ts'
import { requireMember } from '../../../ingest/billing-view/require-member.ts'
import { openPool } from '../../../ops/access/pool.postgres.ts'
import type { Caller } from '../../../schemas/http/door.ts'
import { createCustomer } from '../../support/customers.ts'
import { type EmbeddedLog, openEmbeddedLog } from '../../support/embedded-stores.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

/** HC-5: `billing_cache:{org_id}` answers while Postgres is away, for 24 hours. Postgres is away: nobody listens there. */
const NOW = Date.UTC(2026, 10, 20, 12)
const HOUR = 3_600_000
let database: TestDatabase
let embedded: EmbeddedLog
let deps: FindOrganizationDeps
let away: FindOrganizationDeps
let nowMs: number
let tenant: number
let made = 0

beforeAll(async () => {
  const now = () => nowMs
  nowMs = NOW
  ;[database, embedded] = await Promise.all([createTestDatabase(), openEmbeddedLog(now)])
  const logger = pino({ level: 'silent' })
  deps = { pool: database.pool, billingCache: createLmdbBillingCache(embedded.lmdb.quota, now), logger, now }
  away = { ...deps, pool: openPool('postgres://nobody@127.0.0.1:1/nothing', 1, () => undefined) }
})
afterAll(async () => {
  await away.pool.end()
  await database.drop()
  await embedded.close()
})
beforeEach(async () => {
  nowMs = NOW
  tenant = await database.createTenant(`t-${made++}`)
})

const customer = (key: string, subjects: string[]) => createCustomer(database.pool, tenant, key, subjects)
const find = (user: string, by = deps) => findOrganization(by, tenant, user)

describe('an organization', () => {
  test('is told as it was last read, and since when', async () => {
    const id = await customer('clinic-7', ['user-1'])
    const organization = { id, key: 'clinic-7', zone: 'UTC', subscriptions: [] }
    expect(await find('user-1')).toEqual({ organization })
    nowMs += 1_000
    expect(await find('user-1', away)).toEqual({ organization, readAtMs: NOW })
    nowMs += HOUR
    await find('user-1')
    nowMs += 23 * HOUR
    expect(await find('user-1', away)).toEqual({ organization, readAtMs: NOW + HOUR + 1_000 })
    nowMs += HOUR
    await expect(find('user-1', away)).rejects.toThrow('ECONNREFUSED')
  })

  test('of a user who is nobody’s is none, and that is known too', async () => {
    expect(await find('new')).toEqual({ organization: undefined })
    expect(await find('new', away)).toEqual({ readAtMs: NOW })
    // Somebody's, from the next reading on.
    await customer('clinic-7', ['new'])
    await find('new')
    expect(await find('new', away)).toMatchObject({ organization: { key: 'clinic-7' } })
  })

  test('of a user about whom nobody asked is not known, nor is that of another tenant’s user of the same name', async () => {
    await customer('clinic-7', ['user-1', 'user-2'])
    await find('user-1')
    await expect(find('user-2', away)).rejects.toThrow('ECONNREFUSED')
    tenant = await database.createTenant(`t-${made++}`)
    await expect(find('user-1', away)).rejects.toThrow('ECONNREFUSED')
  })

  test('a cache that fails, or that another version wrote, changes no answer of Postgres and gives none of its own', async () => {
    await customer('clinic-7', ['user-1'])
    const broken = { put: () => Promise.reject(new Error('full')), get: () => Promise.reject(new Error('gone')) }
    expect(await find('user-1', { ...deps, billingCache: broken })).toMatchObject({ organization: { key: 'clinic-7' } })
    await expect(find('user-1', { ...away, billingCache: broken })).rejects.toThrow('ECONNREFUSED')
    for (const text of ['', '{', 'null', '{"organization":5,"readAtMs":1}', '{"organization":"x"}']) {
      const odd = { ...broken, get: async () => text }
      await expect(find('user-1', { ...away, billingCache: odd })).rejects.toThrow('ECONNREFUSED')
    }
  })
})

describe('whether a user is of an organization', () => {
  const caller = () => ({ tenantId: tenant }) as Caller
  const known = (id?: string) => {
    const config = { grantsOf: () => (id === undefined ? {} : { customer: { id, key: 'clinic-7' } }) }
    return { get: async () => config as unknown as TenantConfig }
  }
  const check = (organization: string, by: FindOrganizationDeps, config = known()) =>
    requireMember({ ...by, config }, caller(), 'user-1', organization)

  test('is decided by Postgres, whatever is known', async () => {
    const id = await customer('clinic-8', ['user-1'])
    await check('clinic-8', deps, known('an-id'))
    await check(id, deps, known('an-id'))
    await expect(check('clinic-9', deps, known())).rejects.toMatchObject({ code: 'wrong_organization' })
  })

  test('and while Postgres is away by what is known', async () => {
    await check('clinic-7', away, known('an-id'))
    await check('an-id', away, known('an-id'))
    await check('clinic-9', away, known())
    await expect(check('clinic-9', away, known('an-id'))).rejects.toMatchObject({ code: 'wrong_organization' })
  })
})
