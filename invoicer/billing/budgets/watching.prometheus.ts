import { Counter, Gauge, type Registry } from 'prom-client'
import type { WatchMetrics } from './keep-watching.ts'

/** By what spend is compared with. */
export function createWatchMetrics(registry: Registry): (against: 'budget' | 'credit') => WatchMetrics {
  const shared = { labelNames: ['against'] as const, registers: [registry] }
  const late = new Gauge({
    name: 'billing_spend_watch_lag_seconds',
    help: 'How late the budget or credit that waited longest was, when the last pass over them began',
    ...shared,
  })
  const passed = new Gauge({
    name: 'billing_spend_watch_last_pass_timestamp_seconds',
    help: 'When this process last passed over all budgets or credit that were due; 0 before the first time',
    ...shared,
  })
  const fired = new Counter({
    name: 'billing_spend_alerts_total',
    help: 'Levels of budgets and credit that spend reached and that were told, since the start of the process',
    ...shared,
  })
  const failed = new Counter({
    name: 'billing_spend_watch_failures_total',
    help: 'Looks at budgets and credit that failed, since the start of the process',
    ...shared,
  })
  return (against) => {
    for (const gauge of [late, passed]) gauge.set({ against }, 0)
    for (const counter of [fired, failed]) counter.inc({ against }, 0)
    return {
      late: (ms) => late.set({ against }, ms / 1_000),
      passed: (atMs) => passed.set({ against }, atMs / 1_000),
      fired: (alerts) => fired.inc({ against }, alerts),
      failed: () => failed.inc({ against }),
    }
  }
}
