import { setTimeout as sleep } from 'node:timers/promises'
import { v7 } from 'uuid'
import { createCustomer } from '../../../invoicer/agreements/customers/create-customer.ts'
import { type CreatePlan, createPlan, fill } from '../../../invoicer/agreements/plans/create-plan.ts'
import type { Plan } from '../../../invoicer/agreements/plans/plan.ts'
import { planHash } from '../../../invoicer/agreements/plans/plan-hash.ts'
import { createSubscription } from '../../../invoicer/agreements/subscriptions/create-subscription.ts'
import type { Invoice } from '../../../invoicer/billing/invoices/invoice.ts'
import { listInvoices } from '../../../invoicer/billing/invoices/invoices.postgres.ts'
import { checkBillable } from '../../../invoicer/billing/rating/check-price.ts'
import type { Price } from '../../../invoicer/billing/rating/price.ts'
import { openRun } from '../../../invoicer/billing/run/open-run.ts'
import { type RunDeps, runBilling } from '../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../invoicer/billing/run/runs.postgres.ts'
import type { Progress } from '../../../invoicer/billing/run/steps.ts'
import type { UsageReader } from '../../../invoicer/billing/usage.ts'
import { collectionForBilling } from '../../../invoicer/collection/for-billing.ts'
import { collectPayments } from '../../../invoicer/collection/payments/collect-payments.ts'
import { manualGateway } from '../../../invoicer/collection/payments/gateway.manual.ts'
import type { ChargeRequest, Gateway } from '../../../invoicer/collection/payments/gateway.ts'
import type { FinancialEvent } from '../../../invoicer/outbox/announce.ts'
import type { Means, Transact } from '../../../invoicer/transaction.ts'
import { formatMoney } from '../../../schemas/money.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import type { TestDatabase } from '../../support/test-database.ts'
import { type MemoryEvent, memoryUsage } from './memory-usage.ts'

export const NOVEMBER = Date.UTC(2023, 10, 1)
export const DECEMBER = Date.UTC(2023, 11, 1)
export const JANUARY = Date.UTC(2024, 0, 1)
/** When the tests happen, unless they move the clock. */
export const NOW = Date.UTC(2024, 0, 2)

/** Calendar months from November on, without an end. */
export const MONTHLY = {
  ...{ startMs: NOVEMBER, endMs: null, zone: 'UTC' },
  ...{ interval: 'month' as const, every: 1, alignment: 'calendar' as const },
}

/** A quantity of tokens that no amount can hold: whoever used it cannot be billed. */
export const TOO_MUCH = '9'.repeat(25)

export const DEMO_PLAN: CreatePlan<Price> = {
  key: 'llm',
  name: 'LLM usage',
  currency: 'USD',
  interval: 'month',
  alignment: 'calendar',
  graceSeconds: 3600,
  fees: 'in_arrears',
  charges: [
    { key: 'base', name: 'Base fee', meter: null, price: { model: 'flat', amount: '20.00' } },
    {
      key: 'context',
      name: 'Context tokens',
      meter: 'context_tokens',
      price: { model: 'per_unit', unit_amount: '0.000003' },
    },
    {
      key: 'generated',
      name: 'Generated tokens',
      meter: 'generated_tokens',
      price: {
        model: 'graduated',
        tiers: [
          { up_to: '100000', unit_amount: '0.000015' },
          { up_to: null, unit_amount: '0.000012' },
        ],
      },
    },
  ],
}

/** A plan as it is when it was stored, for pure tests. */
export function storedPlan(content: Partial<CreatePlan<Price>> = {}): Plan<Price> {
  const { key, ...filled } = { ...DEMO_PLAN, ...content, ...fill({ ...DEMO_PLAN, ...content }) }
  return { ...filled, key, id: 'plan', version: 1, effectiveFromMs: null, hash: planHash(filled), createdAtMs: 0 }
}

/** One tenant on a real database, a clock that stands still, usage in memory, and a gateway that keeps count. */
export type World = Means & {
  tenantId: number
  transact: Transact
  clock: { nowMs: number }
  events: MemoryEvent[]
  charged: ChargeRequest[]
  announced: FinancialEvent[]
  deps: RunDeps
  plan: (change?: Partial<CreatePlan<Price>>) => Promise<void>
  subscribe: (
    name: string,
    change?: { startMs?: number; endMs?: number | null; plan?: string; timezone?: string; subjects?: string[] },
  ) => Promise<string>
  use: (subject: string, meter: string, quantity: string, timeMs: number, knownAtMs?: number) => void
  run: (asOfMs?: number, progress?: (write: Progress) => Progress) => Promise<string>
  invoices: () => Promise<Invoice[]>
}

export async function createWorld(database: TestDatabase, slug: string): Promise<World> {
  const tenantId = await database.createTenant(slug)
  const transact: Transact = (tenant, work) => withTenant(database.pool, tenant, work)
  const clock = { nowMs: NOW }
  const means: Means = { now: () => clock.nowMs, newId: () => v7() }
  const events: MemoryEvent[] = []
  const charged: ChargeRequest[] = []
  const announced: FinancialEvent[] = []
  const gateway: Gateway = {
    name: 'manual',
    charge: async (request) => {
      charged.push(request)
      return manualGateway.charge(request)
    },
  }
  const shared = {
    ...means,
    transact,
    announce: (event: FinancialEvent) => void announced.push(event),
    stopping: () => false,
    chunkSize: 3,
  }
  const deps: RunDeps = {
    ...shared,
    usage: memoryUsage(events),
    sealWait: { pollMs: 1, polls: 3 },
    sleep: async () => answerSeals(database, tenantId, memoryUsage(events)),
    ...collectionForBilling(means),
    collect: (tenant, runId, progress) => collectPayments({ ...shared, gateway }, progress, tenant, runId),
  }
  for (const meter of ['context_tokens', 'generated_tokens']) await createMeter(database, tenantId, meter)
  const inTenant = <T>(work: Parameters<typeof transact<T>>[1]) => transact(tenantId, work)
  let identity = 0n
  return {
    ...means,
    tenantId,
    transact,
    clock,
    events,
    charged,
    announced,
    deps,
    plan: async (change = {}) => {
      await inTenant((tx) => createPlan(tx, { ...DEMO_PLAN, ...change }, checkBillable, means))
    },
    subscribe: async (name, change = {}) => {
      const subjects = change.subjects ?? [name]
      const input = { externalKey: name, name: null, email: null, currency: 'USD', subjects }
      await inTenant((tx) => createCustomer(tx, { ...input, timezone: change.timezone ?? 'UTC' }, means))
      const terms = { startMs: change.startMs ?? NOVEMBER, endMs: change.endMs === undefined ? DECEMBER : change.endMs }
      const { subscription } = await inTenant((tx) =>
        createSubscription(tx, { externalKey: name, customer: name, planKey: change.plan ?? 'llm', ...terms }, means),
      )
      return subscription.id
    },
    use: (subject, meter, quantity, timeMs, knownAtMs = timeMs) => {
      identity += 1n
      events.push({ tenantId, meter, subject, timeMs, knownAtMs, quantity: parseQuantity(quantity), identity })
    },
    run: async (asOfMs = clock.nowMs, progress = (write) => write) => {
      const { id } = await inTenant((tx) => openRun(tx, { asOfMs }, means))
      await runBilling(deps, progress(progressInPostgres(transact, tenantId, id)), tenantId, id)
      return id
    },
    invoices: () =>
      inTenant((tx) =>
        listInvoices(tx, { customer: null, subscription: null, billingRun: null }, { limit: 999, after: null }),
      ),
  }
}

/** What the aggregator does for a meter and for a seal, as far as the invoicer sees it. */
export async function createMeter(database: TestDatabase, tenantId: number, slug: string): Promise<void> {
  await withTenant(database.pool, tenantId, (tx) =>
    tx.query(
      `INSERT INTO meters (tenant_id, slug, event_type, aggregation, value_path, group_by, revision, updated_at)
       VALUES (app_tenant(), $1, 'llm.request', 'sum', '{tokens}', '[]', 1, now())`,
      [slug],
    ),
  )
}

export async function answerSeals(database: TestDatabase, tenantId: number, usage: UsageReader): Promise<void> {
  await withTenant(database.pool, tenantId, async (tx) => {
    const { rows } = await tx.query<{ seal_id: string; known_before: Date }>(
      'SELECT seal_id, known_before FROM seal_requests WHERE seal_id NOT IN (SELECT seal_id FROM seals)',
    )
    for (const { seal_id: sealId, known_before: knownBefore } of rows) {
      const { events, digest } = await usage.identityTotals(tenantId, knownBefore)
      await tx.query(
        `INSERT INTO seals (tenant_id, seal_id, known_before, log_offsets, event_count, digest, sealed_at)
         VALUES (app_tenant(), $1, $2, '{}', $3, $4, now()) ON CONFLICT DO NOTHING`,
        [sealId, knownBefore, events, digest],
      )
    }
  })
}

/** A sealer beside a running invoicer: looks for requests until it is stopped. */
export function startSealer(
  database: TestDatabase,
  tenantId: number,
  usage: UsageReader,
): { stop: () => Promise<void> } {
  let stopped = false
  const work = (async () => {
    while (!stopped) {
      await answerSeals(database, tenantId, usage)
      await sleep(20)
    }
  })()
  return {
    stop: async () => {
      stopped = true
      await work
    },
  }
}

/** Invoices as one reads them: customer, period start, lines, total, state. */
export function summary(invoices: readonly Invoice[]): string[] {
  return invoices.map((invoice) => {
    const amounts = invoice.lines.map((line) => formatMoney(line.amountMinor, invoice.currency)).join(' + ')
    const month = new Date(invoice.periodStartMs).toISOString().slice(0, 10)
    return `${invoice.customer.externalKey} ${month}: ${amounts} = ${formatMoney(invoice.totalMinor, invoice.currency)} ${invoice.state}`
  })
}
