import type { EventReader } from '../../../../invoicer/billing/explain/events.ts'
import { explainInvoiceLine } from '../../../../invoicer/billing/explain/explain-invoice-line.ts'
import { openInvoice } from '../../../../invoicer/billing/explain/open-invoice.ts'
import { verifyInvoice } from '../../../../invoicer/billing/explain/verify-invoice.ts'
import type { Invoice } from '../../../../invoicer/billing/invoices/invoice.ts'
import { parseValue } from '../../../../schemas/meter/expression.ts'
import { filterFormOf } from '../../../../schemas/meter/filter.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import type { TestDatabase } from '../../../support/test-database.ts'
import { type ChangingWorld, createChangingWorld } from '../../agreements/subscriptions/changing-world.ts'
import { type MemoryEvent, memoryUsage } from '../../support/memory-usage.ts'

export const HALF_DECEMBER = Date.UTC(2023, 11, 16, 12)

export type FeesWorld = ChangingWorld & {
  /** A plan with one fee, in advance. */
  ahead: (key: string, amount: string, change?: Parameters<ChangingWorld['plan']>[0]) => Promise<void>
  /** Invoices in the order they were made, each as its lines and its total. */
  billed: () => Promise<string[]>
  /** Differences that verifying and explaining all invoices finds. */
  wrong: () => Promise<unknown[]>
  /** Sets the clock, and runs. */
  runAt: (atMs: number) => Promise<void>
}

export async function createFeesWorld(database: TestDatabase, slug: string): Promise<FeesWorld> {
  const world = await createChangingWorld(database, slug)
  const inOrder = async (): Promise<Invoice[]> =>
    (await world.invoices()).sort((a, b) => (a.number ?? '').localeCompare(b.number ?? ''))
  const deps = { ...world, usage: world.deps.usage, events: readerOf(world.events) }
  return {
    ...world,
    ahead: (key, amount, change = {}) =>
      world.plan({
        key,
        fees: 'in_advance',
        charges: [{ key: 'base', name: 'Base fee', meter: null, price: { model: 'flat', amount } }],
        ...change,
      }),
    billed: async () =>
      (await inOrder()).map(({ lines, totalMinor, currency }) => {
        const texts = lines.map((line) => {
          const day = new Date(line.periodStartMs).toISOString().slice(5, 10)
          return `${day} ${line.planKey} ${line.chargeKey} ${formatMoney(line.amountMinor, currency)}`
        })
        return `${texts.join(', ')} = ${formatMoney(totalMinor, currency)}`
      }),
    wrong: async () => {
      const found: unknown[] = []
      for (const { id, number, lines } of await inOrder()) {
        const { difference } = await verifyInvoice(deps, world.tenantId, id)
        if (difference !== undefined) found.push({ number, difference })
        const opened = await openInvoice(world.transact, world.tenantId, id)
        for (const { index } of lines) {
          const explained = explainInvoiceLine(opened, index)
          const last = explained.tree.parts.at(-1)
          if (explained.difference !== undefined) found.push({ number, index, difference: explained.difference })
          if (last?.label === 'Stored amount') found.push({ number, index, tree: explained.tree })
        }
      }
      return found
    },
    runAt: async (atMs) => {
      world.clock.nowMs = atMs
      await world.run()
    },
  }
}

/** Raw events, as if each had been sent with its quantity, as the type that its meter counts. */
export function readerOf(events: readonly MemoryEvent[]): EventReader {
  const always = { fromMs: Number.NEGATIVE_INFINITY, untilMs: Number.POSITIVE_INFINITY }
  return {
    meter: async (_tenantId, slug) => {
      const versions = [{ ...always, eventType: slug, value: parseValue('tokens'), filter: filterFormOf(undefined) }]
      return { slug, aggregation: 'sum', window: undefined, percentile: undefined, versions }
    },
    identities: async (tenantId, { subjects, knownBeforeMs }) =>
      events
        .filter((event) => event.tenantId === tenantId && event.knownAtMs < knownBeforeMs)
        .filter(({ subject }) => subjects.includes(subject))
        .map(({ identity, meter, subject, timeMs, knownAtMs, quantity }) => {
          const copy = { type: meter, subject, timeMs, dataJson: JSON.stringify({ tokens: quantity.toNumber() }) }
          const first = { ...copy, version: identity, knownAtMs }
          return { shard: '0', source: 's', id: String(identity), hash: identity, first, operations: [] }
        }),
    sealed: (tenantId, knownBeforeMs) => memoryUsage(events).identityTotals(tenantId, new Date(knownBeforeMs)),
  }
}
