import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Permission } from '../../../schemas/http/permissions.ts'
import { cloudEvent, METERING_NOW, type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { openQuotaTenant, quotaCalls } from './quota-calls.ts'

/** Issue 6: who may ask and consume quotas. */
let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  metering.clock.nowMs = METERING_NOW
  tenant = await openQuotaTenant(metering, `q-${made++}`)
})

const { limit, post, reserve } = quotaCalls(() => tenant)

async function newTenant(permissions: readonly Permission[]): Promise<Tenant> {
  const owner = await openQuotaTenant(metering, `q-${made++}`)
  return metering.scopedKey(owner, `weak-${made++}`, 'everything', permissions)
}

describe('permissions', () => {
  const asked: [Permission, string, object][] = [
    ['billing:quotas:read', 'check', { checks: [{ subject: 'a', meter: 'tokens' }] }],
    ['billing:quotas:consume', 'reserve', { subject: 'a', meter: 'tokens', quantity: '1' }],
    ['billing:quotas:consume', 'release', { hold_id: 'x' }],
    ['billing:quotas:consume', 'leases', { subject: 'a', meter: 'tokens', quantity: '1' }],
    ['billing:quotas:consume', 'leases/x/return', { unused: '1' }],
    ['billing:usage:create', 'consume', { subject: 'a', type: 'llm.request', data: { tokens: 1 } }],
  ]
  test.each(asked)('%s lets in to %s, and nothing else does', async (permission, path, body) => {
    const [with_, others] = [await newTenant([permission]), new Set(asked.map(([one]) => one))]
    others.delete(permission)
    expect((await post(path, body, 'k', with_)).status).toBeLessThan(300)
    expect((await post(path, body, 'k', await newTenant([...others]))).status).toBe(403)
  })

  test('to settle is to send usage, and needs the permission for it too', async () => {
    const body = { hold_id: 'x', event: cloudEvent('a') }
    for (const permission of ['billing:quotas:consume', 'billing:usage:create'] as const)
      expect((await post('settle', body, undefined, await newTenant([permission]))).body.code).toBe('forbidden')
    const both = await newTenant(['billing:quotas:consume', 'billing:usage:create'])
    expect((await post('settle', body, undefined, both)).status).toBe(202)
  })
})

/** HC-8, decision 0014: a key with a scope asks and consumes for its own subjects. */
describe('a key with a scope', () => {
  test('sees and holds quota of its own subjects alone', async () => {
    await limit('100')
    await limit('100', 'tokens', 'month', 'customer-2')
    const mine = metering.scopedKey(tenant, `scoped-${made++}`, { subjects: ['customer-1'] })
    const foreign = await reserve('foreign', '5', { subject: 'customer-2' })
    const body = (subject: string) => ({ subject, meter: 'tokens', quantity: '10' })
    for (const path of ['reserve', 'leases']) {
      expect((await post(path, body('customer-2'), `${path}-2`, mine)).body.code).toBe('out_of_scope')
      expect((await post(path, body('customer-1'), path, mine)).body).toMatchObject({ quantity: '10' })
    }
    const checks = (...subjects: string[]) => ({ checks: subjects.map((subject) => ({ subject, meter: 'tokens' })) })
    expect((await post('check', checks('customer-1'), undefined, mine)).status).toBe(200)
    for (const subject of ['customer-2', 'nobody'])
      expect((await post('check', checks('customer-1', subject), undefined, mine)).body.code).toBe('out_of_scope')
    expect((await mine.call('GET', '/quota/customer-1')).body.limits).toMatchObject([{ used: '20' }])
    expect((await mine.call('GET', '/quota/customer-2')).body).toEqual({
      subject: 'customer-2',
      limits: [],
      features: [],
    })
    // A hold of somebody else is none.
    const { hold_id } = foreign.body
    expect((await post('release', { hold_id }, undefined, mine)).body.released).toBe('0')
    expect((await post(`leases/${hold_id}/return`, { unused: '5' }, undefined, mine)).body.returned).toBe('0')
    expect((await post('release', { hold_id })).body.released).toBe('5')
    expect((await post('settle', { hold_id, event: {} }, undefined, mine)).body.code).toBe('out_of_scope')
  })

  test('has its idempotency keys for itself, with those of the same scope', async () => {
    await limit('100')
    await limit('100', 'tokens', 'month', 'customer-2')
    const scoped = (...subjects: string[]) => metering.scopedKey(tenant, `scoped-${made++}`, { subjects })
    const body = { subject: 'customer-1', meter: 'tokens', quantity: '10' }
    const ids: unknown[] = []
    for (const by of [tenant, scoped('customer-1'), scoped('customer-1', 'customer-2')]) {
      const answer = await post('reserve', body, 'k', by)
      expect(answer.status).toBe(201)
      ids.push(answer.body.hold_id)
    }
    expect(new Set(ids).size).toBe(3)
    // Somebody else's key for something else is no conflict, and the order of subjects is nobody's choice.
    expect((await post('reserve', { ...body, subject: 'customer-2' }, 'k', scoped('customer-2'))).status).toBe(201)
    expect((await post('reserve', body, 'k', scoped('customer-2', 'customer-1'))).body.hold_id).toBe(ids[2])
    expect((await tenant.call('GET', '/quota/customer-1')).body.limits).toMatchObject([{ used: '30' }])
  })

  test('of a customer: the subjects that are the customer’s now', async () => {
    await limit('100')
    const mine = metering.scopedKey(tenant, `scoped-${made++}`, { customer: '01890a5d-ac96-774b-bcce-b302099a8057' })
    const body = { subject: 'customer-1', meter: 'tokens', quantity: '10' }
    expect((await post('reserve', body, 'k', mine)).body.code).toBe('out_of_scope')
    expect((await mine.call('GET', '/quota/customer-1')).body).toEqual({
      subject: 'customer-1',
      limits: [],
      features: [],
    })
  })
})
