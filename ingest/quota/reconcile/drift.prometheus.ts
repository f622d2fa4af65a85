import { Counter, Gauge, type Registry } from 'prom-client'
import type { TenantId } from '../../../schemas/http/door.ts'
import { formatMicro } from '../limit.ts'
import { isCorrected, type Pass } from './reconciler.ts'

export type DriftMetrics = {
  tell(pass: Pass, slugOf: (tenant: TenantId) => string): void
  /** Another process tells from now on. */
  forget(): void
}

/** Of a process that does not compare they are empty. */
export function createDriftMetrics(metrics: Registry): DriftMetrics {
  const common = { labelNames: ['tenant'], registers: [metrics] }
  const drift = new Gauge({
    ...common,
    name: 'billing_quota_drift',
    help: 'How far quota counters were from usage at the last comparison: absolute differences in units, added up',
  })
  const counters = new Gauge({
    ...common,
    name: 'billing_quota_drift_counters',
    help: 'Quota counters that differed from usage at the last comparison',
  })
  const corrected = new Counter({
    ...common,
    name: 'billing_quota_corrections_total',
    help: 'Quota counters that were corrected to what usage says',
  })
  const forget = () => {
    drift.reset()
    counters.reset()
  }
  return {
    tell: ({ differences, failure }, slugOf) => {
      for (const [tenantId, found] of differences)
        corrected.inc({ tenant: slugOf(tenantId) }, found.filter(isCorrected).length)
      // How far counters are is told by the last pass that saw all of them.
      if (failure !== undefined) return
      forget()
      for (const [tenantId, found] of differences) {
        const tenant = slugOf(tenantId)
        const sumMicro = found.reduce((sum, { driftMicro }) => sum + absolute(driftMicro), 0n)
        drift.set({ tenant }, Number(formatMicro(sumMicro)))
        counters.set({ tenant }, found.length)
      }
    },
    forget,
  }
}

function absolute(micro: bigint): bigint {
  return micro < 0n ? -micro : micro
}
