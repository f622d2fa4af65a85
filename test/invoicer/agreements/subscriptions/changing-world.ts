import {
  type Change,
  type Changed,
  changeSubscription,
  type PhaseChange,
} from '../../../../invoicer/agreements/subscriptions/change-subscription.ts'
import {
  type CreateSubscription,
  createSubscription,
} from '../../../../invoicer/agreements/subscriptions/create-subscription.ts'
import { readSubscription } from '../../../../invoicer/agreements/subscriptions/read-subscription.ts'
import type { Subscription } from '../../../../invoicer/agreements/subscriptions/subscription.ts'
import { isDowngrade } from '../../../../invoicer/billing/is-downgrade.ts'
import { type Preview, previewInvoice } from '../../../../invoicer/billing/preview/preview-invoice.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import type { TestDatabase } from '../../../support/test-database.ts'
import { createWorld, type World } from '../../support/world.ts'

export const MINUTE_MS = 60_000
export const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS

/** Plans with a fee alone, or with one metered price too, and what is done with subscriptions to them. */
export type ChangingWorld = World & {
  fee: (key: string, amount: string, metered?: Price) => Promise<void>
  create: (input: Partial<CreateSubscription> & { externalKey: string }) => Promise<Subscription>
  change: (name: string, change: Change, key?: string | null) => Promise<Changed>
  toPlan: (name: string, plan: string | null, when?: 'now' | 'period_end' | null, key?: string) => Promise<Changed>
  read: (name: string) => Promise<Subscription>
  preview: (name: string, plan?: string, when?: 'now' | 'period_end') => Promise<Preview>
  previewOf: (name: string, change: PhaseChange) => Promise<Preview>
  /** Lines of the invoices of a subscription in order, each as [day it begins, charge, amount]. */
  lines: (name: string) => Promise<[string, string, string][]>
}

export async function createChangingWorld(database: TestDatabase, slug: string): Promise<ChangingWorld> {
  const world = await createWorld(database, slug)
  const inTenant = <T>(work: Parameters<typeof world.transact<T>>[1]) => world.transact(world.tenantId, work)
  const change: ChangingWorld['change'] = (name, wanted, key = null) =>
    inTenant((tx) => changeSubscription(tx, name, wanted, key, { ...world, isDowngrade }))
  return {
    ...world,
    fee: (key, amount, metered) =>
      world.plan({
        key,
        charges: [
          { key: 'base', name: 'Base fee', meter: null, price: { model: 'flat', amount } },
          ...(metered ? [{ key: 'calls', name: 'Calls', meter: 'context_tokens', price: metered }] : []),
        ],
      }),
    create: async (input) => {
      const defaults = { customer: input.externalKey, planKey: 'llm', startMs: 0, endMs: null }
      return (await inTenant((tx) => createSubscription(tx, { ...defaults, ...input }, world))).subscription
    },
    change,
    toPlan: (name, plan, when = null, key) => change(name, { plan, when }, key),
    read: (name) => inTenant((tx) => readSubscription(tx, name)),
    preview: (subscription, plan, when) => {
      const wanted = plan === undefined ? null : { plan, when: when ?? null }
      const deps = { ...world, usage: world.deps.usage }
      return previewInvoice(deps, world.tenantId, { subscription, atMs: null, change: wanted })
    },
    previewOf: (subscription, wanted) => {
      const deps = { ...world, usage: world.deps.usage }
      return previewInvoice(deps, world.tenantId, { subscription, atMs: null, change: wanted })
    },
    lines: async (name) => {
      const invoices = (await world.invoices()).filter(({ customer }) => customer.externalKey === name)
      return invoices
        .sort((a, b) => a.periodStartMs - b.periodStartMs)
        .flatMap(({ lines, currency }) =>
          lines.map((line): [string, string, string] => [
            new Date(line.periodStartMs).toISOString().slice(5, 10),
            line.chargeKey,
            formatMoney(line.amountMinor, currency),
          ]),
        )
    },
  }
}
