import { describe, expect, test } from 'vitest'
import type { Entitlement, HolderKind, StoredEntitlement } from '../../../ingest/entitlements/entitlement.ts'
import { createGrants, type Grants, needsCustomers, type Subscribed } from '../../../ingest/entitlements/grants.ts'

const NOV_20 = Date.UTC(2026, 10, 20, 12)
const ACME = { id: 'b1a5', key: 'acme' }

function entitled(holderKind: HolderKind, holder: string, feature: string, given: object = {}): StoredEntitlement {
  const metered = { type: 'metered', meter: 'tokens', limit: '100', window: 'month', ...given } as Entitlement
  return { holderKind, holder, feature, entitlement: metered }
}
function subscribed(plan: string, change: Partial<Subscribed['schedule']> = {}): Subscribed {
  const schedule = {
    interval: 'month',
    every: 1,
    startMs: Date.UTC(2026, 0, 15),
    zone: 'UTC',
    alignment: 'anniversary',
  }
  return { customerId: ACME.id, plan, schedule: { ...schedule, ...change } as Subscribed['schedule'] }
}
function grantsOf(subject: string, entitlements: StoredEntitlement[], subscriptions: Subscribed[] = []): Grants {
  const customerOf = new Map([
    ['alice', ACME],
    ['bob', ACME],
  ])
  return createGrants({ entitlements, customerOf, subscriptions, defaultPlan: 'basic' })(subject)
}
const limits = (grants: Grants) =>
  grants.limits.map(({ feature, limitMicro }) => `${feature} ${limitMicro / 1_000_000n}`)

/** Issue 6: entitlements per plan and per customer or subject, and overrides. */
describe('what a subject is granted', () => {
  const all = [
    entitled('plan', 'basic', 'tokens', { limit: '10' }),
    entitled('plan', 'pro', 'tokens', { limit: '100' }),
    entitled('customer', 'acme', 'tokens', { limit: '500' }),
    entitled('subject', 'alice', 'tokens', { limit: '7' }),
  ]

  test('comes from the nearest holder that says anything: subject, customer, plan, the default plan (HC-4)', () => {
    expect(limits(grantsOf('alice', all))).toEqual(['tokens 7'])
    expect(limits(grantsOf('bob', all))).toEqual(['tokens 500'])
    const ofPlans = all.filter(({ holderKind }) => holderKind === 'plan')
    expect(limits(grantsOf('bob', ofPlans, [subscribed('pro')]))).toEqual(['tokens 100'])
    expect(limits(grantsOf('bob', ofPlans))).toEqual(['tokens 10'])
    expect(limits(grantsOf('nobody-s', ofPlans))).toEqual(['tokens 10'])
    expect(grantsOf('bob', all).customer).toEqual(ACME)
  })

  test('of two subscriptions it is the latest that says what holds of a feature', () => {
    const plans = all.filter(({ holderKind }) => holderKind === 'plan')
    const grants = grantsOf('bob', plans, [subscribed('pro'), subscribed('basic')])
    expect([limits(grants), grants.plans]).toEqual([['tokens 10'], ['pro', 'basic']])
  })

  test('has every feature, whoever grants it; switches and values beside limits', () => {
    const given = [
      entitled('plan', 'basic', 'tokens'),
      entitled('customer', 'acme', 'team', { per: 'customer' }),
      { ...entitled('plan', 'basic', 'exports'), entitlement: { type: 'boolean', enabled: true } as const },
      { ...entitled('subject', 'bob', 'exports'), entitlement: { type: 'boolean', enabled: false } as const },
      { ...entitled('plan', 'basic', 'region'), entitlement: { type: 'static', value: 'eu' } as const },
    ]
    const grants = grantsOf('bob', given)
    expect(limits(grants)).toEqual(['tokens 100', 'team 100'])
    expect(grants.features).toEqual([
      { feature: 'exports', grantedBy: 'subject', type: 'boolean', enabled: false },
      { feature: 'region', grantedBy: 'plan', type: 'static', value: 'eu' },
    ])
  })

  test('per customer is one counter for all its subjects; without a customer it is the subject’s own', () => {
    const shared = [entitled('plan', 'basic', 'team', { per: 'customer' })]
    const [alice] = grantsOf('alice', shared).limits
    const [bob] = grantsOf('bob', shared).limits
    expect([alice, bob]).toMatchObject([
      { holder: ACME.id, ofCustomer: true, subject: 'alice' },
      { holder: ACME.id, ofCustomer: true, subject: 'bob' },
    ])
    const [alone] = grantsOf('nobody-s', shared).limits
    expect(alone).toMatchObject({ holder: 'nobody-s' })
    expect(alone).not.toHaveProperty('ofCustomer')
  })

  test('of a plan a billing period is that of the subscription to it, whatever else is subscribed to', () => {
    const base = subscribed('base')
    const addOn = subscribed('add-on', { interval: 'year', startMs: Date.UTC(2026, 5, 1) })
    const given = [entitled('plan', 'base', 'tokens', { window: 'billing_period' })]
    const [limit] = grantsOf('bob', given, [base, addOn]).limits
    expect(limit?.windowAt(NOV_20)).toEqual({ startMs: Date.UTC(2026, 10, 15), endMs: Date.UTC(2026, 11, 15) })
  })

  test('asks for customers and subscriptions as soon as anything depends on them', () => {
    const own = entitled('subject', 'alice', 'tokens')
    const needs = [{}, { per: 'customer' }, { window: 'billing_period' }].map((change) =>
      needsCustomers({ ...own, entitlement: { ...own.entitlement, ...change } as Entitlement }),
    )
    expect(needs).toEqual([false, true, true])
    expect(needsCustomers(entitled('plan', 'basic', 'tokens'))).toBe(true)
  })
})

describe('the window of a limit', () => {
  const windowOf = (window: string, subscriptions: Subscribed[], atMs = NOV_20) => {
    const [limit] = grantsOf('bob', [entitled('customer', 'acme', 'tokens', { window })], subscriptions).limits
    const { startMs, endMs } = limit!.windowAt(atMs)
    return [new Date(startMs).toISOString(), new Date(endMs).toISOString()]
  }

  test('is an hour, a day or a month of UTC', () => {
    expect(windowOf('hour', [], NOV_20 + 1_799_999)).toEqual(['2026-11-20T12:00:00.000Z', '2026-11-20T13:00:00.000Z'])
    expect(windowOf('day', [])).toEqual(['2026-11-20T00:00:00.000Z', '2026-11-21T00:00:00.000Z'])
    expect(windowOf('month', [])).toEqual(['2026-11-01T00:00:00.000Z', '2026-12-01T00:00:00.000Z'])
  })

  test('of a rolling limit is that of a bucket, whatever is subscribed to', () => {
    const at = NOV_20 + 7 * 60_000
    expect(windowOf('rolling_hour', [subscribed('pro')], at)).toEqual([
      '2026-11-20T12:05:00.000Z',
      '2026-11-20T12:10:00.000Z',
    ])
    expect(windowOf('rolling_day', [], at)).toEqual(['2026-11-20T12:00:00.000Z', '2026-11-20T14:00:00.000Z'])
  })

  test('is the billing period of the subscription, in its zone; without one a calendar month', () => {
    expect(windowOf('billing_period', [subscribed('pro')])).toEqual([
      '2026-11-15T00:00:00.000Z',
      '2026-12-15T00:00:00.000Z',
    ])
    const berlin = subscribed('pro', { zone: 'Europe/Berlin', alignment: 'calendar' })
    expect(windowOf('billing_period', [berlin])).toEqual(['2026-10-31T23:00:00.000Z', '2026-11-30T23:00:00.000Z'])
    expect(windowOf('billing_period', [])).toEqual(['2026-11-01T00:00:00.000Z', '2026-12-01T00:00:00.000Z'])
    const before = Date.UTC(2025, 5, 1)
    expect(windowOf('billing_period', [subscribed('pro')], before)).toEqual([
      '2025-06-01T00:00:00.000Z',
      '2025-07-01T00:00:00.000Z',
    ])
  })
})
