import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createDriftMetrics } from '../../../../ingest/quota/reconcile/drift.prometheus.ts'
import type { Difference, Pass } from '../../../../ingest/quota/reconcile/reconciler.ts'

const COUNTER = { tenant: 1, subject: 'alice', meter: 'tokens', startMs: 0, endMs: 1 }
const differs = (driftMicro: bigint, state: Difference['state']): Difference => {
  return { counter: COUNTER, usedMicro: 9_000_000n, heldMicro: 0n, usageMicro: 0n, driftMicro, state, isNew: true }
}
const passOf = (found: Difference[]): Pass => ({ counters: 9, differences: new Map([[1, found]]), cut: false })

test('of a pass that failed only corrections are counted: how far counters are it saw of some alone', async () => {
  const registry = new Registry()
  const metrics = createDriftMetrics(registry)
  const series = async () => (await registry.metrics()).match(/^billing_quota_\w+\{.*$/gm) ?? []
  metrics.tell(passOf([differs(-2_000_000n, 'corrected'), differs(1_500_000n, 'stands')]), () => 'acme')
  const told = ['billing_quota_drift{tenant="acme"} 3.5', 'billing_quota_drift_counters{tenant="acme"} 2']
  expect(await series()).toEqual([...told, 'billing_quota_corrections_total{tenant="acme"} 1'])
  const failed = { ...passOf([differs(7_000_000n, 'corrected')]), failure: new Error('usage is away') }
  metrics.tell(failed, () => 'acme')
  expect(await series()).toEqual([...told, 'billing_quota_corrections_total{tenant="acme"} 2'])
  metrics.tell(passOf([]), () => 'acme')
  expect(await series()).toEqual([
    'billing_quota_drift{tenant="acme"} 0',
    'billing_quota_drift_counters{tenant="acme"} 0',
    'billing_quota_corrections_total{tenant="acme"} 2',
  ])
})
