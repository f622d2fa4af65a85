import { Registry } from 'prom-client'
import { vi } from 'vitest'
import { keepWatching } from '../../../../invoicer/billing/budgets/keep-watching.ts'
import { createWatchMetrics } from '../../../../invoicer/billing/budgets/watching.prometheus.ts'
import type { UsageReader } from '../../../../invoicer/billing/usage.ts'
import { putCreditThresholds } from '../../../../invoicer/collection/credits/change-thresholds.ts'
import { creditAlertAnswer } from '../../../../invoicer/collection/credits/credit-alert.ts'
import { listCreditAlerts } from '../../../../invoicer/collection/credits/credit-alerts.postgres.ts'
import { type GrantCredit, grantCredit } from '../../../../invoicer/collection/credits/grant-credit.ts'
import { watchCredit } from '../../../../invoicer/collection/credits/look-at-credit.ts'
import { tenantsWithDueCredit } from '../../../../invoicer/collection/credits/thresholds.postgres.ts'
import type { Transact } from '../../../../invoicer/transaction.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import type { TestDatabase } from '../../../support/test-database.ts'
import { createWorld, NOVEMBER, type World } from '../../support/world.ts'

export const MINUTE_MS = 60_000
export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS
/** A world whose credit is watched. */
export type Watched = World & { database: TestDatabase }

/** A tenant in the middle of November, at a cent a token; its minutes pass when the test says so. */
export async function open(database: TestDatabase, slug: string, ...names: string[]): Promise<Watched> {
  const world = await createWorld(database, slug)
  world.clock.nowMs = NOVEMBER + 10 * DAY_MS
  const price = { model: 'per_unit', unit_amount: '0.01' } as const
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price }] })
  for (const name of names) await world.subscribe(name, { endMs: null })
  return Object.assign(world, { database })
}

type Change = { usage?: UsageReader; transact?: Transact }
const gateway = { name: 'manual' } as const

/** A process that watches credit. All tests share a database: it sees the world's tenant only. */
export function watcher(world: Watched, { usage = world.deps.usage, transact = world.transact }: Change = {}) {
  const registry = new Registry()
  const logger = { error: vi.fn() }
  const { pass } = keepWatching(
    {
      watch: watchCredit({ now: world.now, newId: world.newId, transact, usage, gateway }),
      now: world.now,
      tenantsDue: async (atMs) =>
        (await tenantsWithDueCredit(world.database.pool, atMs)).filter(({ tenantId }) => tenantId === world.tenantId),
      metrics: createWatchMetrics(registry)('credit'),
      logger,
    },
    new AbortController().signal,
  )
  return {
    pass,
    logger,
    metric: async (name: string) => (await registry.getSingleMetricAsString(name)).split('\n').at(-1),
  }
}
export const isDue = async (world: Watched) =>
  (await tenantsWithDueCredit(world.database.pool, world.now())).some(({ tenantId }) => tenantId === world.tenantId)
export const give = (world: Watched, customer: string, amount: string, change: Partial<GrantCredit> = {}) => {
  const grant = { externalKey: world.newId(), customer, name: null, amount, priority: 0, expiresAtMs: null }
  return world.transact(world.tenantId, (tx) => grantCredit(tx, { ...grant, ...change }, world))
}
export const levels = (world: Watched, customer: string, used: string[], remaining: string[] = []) =>
  world.transact(world.tenantId, (tx) => putCreditThresholds(tx, { customer, used, remaining }, world))
const alerts = async (world: Watched) => {
  const page = { limit: 999, after: null }
  return (await world.transact(world.tenantId, (tx) => listCreditAlerts(tx, { customer: null }, page))).reverse()
}
export const told = async (world: Watched) =>
  (await alerts(world)).map(creditAlertAnswer).map(({ customer, level, base, used, available }) => {
    return `${customer} ${level}: ${used} of ${base}, ${available} left`
  })
export const toldNext = async (world: Watched, { pass }: { pass: () => Promise<void> } = watcher(world)) => {
  const before = (await told(world)).length
  world.clock.nowMs += MINUTE_MS
  await pass()
  return (await told(world)).slice(before)
}
let asked = 1_000
/** What is available, as an alert of a level that nobody was told of says. */
export const available = async (world: Watched) => {
  asked += 1
  await levels(world, 'ann', [], [`${asked}.00`])
  const [text] = await toldNext(world)
  return text?.split(', ')[1]
}
export const endpoint = (world: Watched, name: string, topics: string) =>
  world.transact(world.tenantId, (tx) =>
    tx.query(
      `INSERT INTO webhook_endpoints (tenant_id, id, name, url, topics, secret, created_at, updated_at)
       VALUES (app_tenant(), $1, $2, 'https://hooks.example.com', $3, 'whsec_x', now(), now())`,
      [world.newId(), name, topics],
    ),
  )
type Delivery = { name: string; event_id: string; payload: { type: string; timestamp: string; data: object } }
export const deliveries = async (world: Watched): Promise<Delivery[]> => {
  const sql = `SELECT e.name, d.event_id, d.payload FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id
    WHERE d.state = 'waiting' ORDER BY d.event_id, e.name`
  return (await world.transact(world.tenantId, (tx) => tx.query<Delivery>(sql))).rows
}

/** Transactions in which something happens right behind each statement that says so. */
export const behind =
  (world: Pick<World, 'transact'>, part: RegExp, happen: (tx: TenantTransaction) => unknown): Transact =>
  (tenantId, work) =>
    world.transact(tenantId, (tx) => {
      const query = async (sql: string, values?: unknown[]) => {
        const answer = await tx.query(sql, values)
        if (part.test(sql)) await happen(tx)
        return answer
      }
      return work(Object.assign(Object.create(tx), { query }))
    })
