import { expect, test } from 'vitest'
import type { BillingRunReport } from '../../../../invoicer/billing/run/billing-run.ts'
import { paceOf } from '../../../../invoicer/billing/run/pace.ts'

const run = (change: Partial<BillingRunReport>): BillingRunReport => ({
  id: 'r',
  state: 'running',
  step: 'issue',
  asOfMs: 0,
  knownBeforeMs: 1,
  sealId: 's',
  subscriptionsDue: 400,
  error: null,
  dryRun: false,
  retriesRun: null,
  releasedAtMs: 0,
  seal: null,
  openedAtMs: 0,
  endedAtMs: null,
  isDrafted: false,
  approvedBy: null,
  cancelledBy: null,
  subscriptionsLeft: 300,
  invoicesCreated: 200,
  billingSinceMs: 1_000,
  lastInvoiceMs: 3_000,
  parkedCount: 0,
  parked: [],
  ...change,
})

test('200 invoices of 100 subscriptions in two seconds: 100 a second, and 300 more take six', () => {
  expect(paceOf(run({}))).toEqual({ invoicesPerSecond: 100, issuedAtMs: 9_000 })
})

test.each<[string, Partial<BillingRunReport>, ReturnType<typeof paceOf>]>([
  [
    'before the first invoice',
    { lastInvoiceMs: null, invoicesCreated: 0 },
    { invoicesPerSecond: null, issuedAtMs: null },
  ],
  ['in the same millisecond', { lastInvoiceMs: 1_000 }, { invoicesPerSecond: null, issuedAtMs: null }],
  [
    'completed',
    { state: 'completed', endedAtMs: 9_000, subscriptionsLeft: null },
    { invoicesPerSecond: 100, issuedAtMs: null },
  ],
  ['when others came due meanwhile', { subscriptionsLeft: 401 }, { invoicesPerSecond: 100, issuedAtMs: null }],
  ['when nothing is left', { subscriptionsLeft: 0 }, { invoicesPerSecond: 100, issuedAtMs: 3_000 }],
])('%s', (_, change, pace) => {
  expect(paceOf(run(change))).toEqual(pace)
})
