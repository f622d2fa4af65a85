import type { AskedChange } from '../../../../invoicer/billing/invoices/changes.postgres.ts'
import type { Invoice } from '../../../../invoicer/billing/invoices/invoice.ts'
import { readBalance } from '../../../../invoicer/collection/balance/read-balance.ts'
import { collectPayments } from '../../../../invoicer/collection/payments/collect-payments.ts'
import type { ChargeRequest, ChargeResult } from '../../../../invoicer/collection/payments/gateway.ts'
import { changeInvoice } from '../../../../invoicer/collection/voids/change-invoice.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import type { TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, type World } from '../../support/world.ts'

export const HOUR_MS = 3_600_000
export const FEE = { key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount: '20' } } as const
export const USE = {
  key: 'use',
  name: 'Use',
  meter: 'context_tokens',
  price: { model: 'per_unit', unit_amount: '1' },
} as const

let worlds = 0
let keys = 0

/** A plan of 20.00 a month and 1.00 a token, and a gateway that declines unless it is told otherwise. */
export async function voidWorld(database: TestDatabase, charges: readonly (typeof FEE | typeof USE)[] = [FEE, USE]) {
  worlds += 1
  const world = await createWorld(database, `voids-${worlds}`)
  await world.plan({ charges: [...charges], fees: 'in_arrears' })
  const answers: ChargeResult[] = []
  const given = new Map<string, ChargeResult>()
  const charge = async ({ idempotencyKey }: ChargeRequest): Promise<ChargeResult> => {
    const before = given.get(idempotencyKey)
    if (before !== undefined && before.outcome !== 'unknown') return before
    const answer = answers.shift() ?? { outcome: 'declined', reason: 'no funds' }
    given.set(idempotencyKey, answer)
    return answer
  }
  const gateway = { name: 'manual' as const, charge }
  const collecting = { ...world.deps, gateway, stopping: () => false }
  world.deps.collect = (tenantId, runId, progress) => collectPayments(collecting, progress, tenantId, runId)
  return { world, answers }
}

export function runAt(world: World, atMs: number): Promise<string> {
  world.clock.nowMs = atMs
  return world.run()
}

/** November billed two hours behind its end, once. */
export async function billed(world: World): Promise<Invoice> {
  await runAt(world, DECEMBER + 2 * HOUR_MS)
  const [invoice] = await world.invoices()
  if (invoice === undefined) throw new Error('There is no invoice.')
  return invoice
}

export function change(
  world: World,
  invoiceId: string,
  how: AskedChange['change'],
  { key = `k-${++keys}`, reason = 'Wrong' }: { key?: string; reason?: string } = {},
): Promise<Invoice> {
  const input = { invoiceId, change: how, idempotencyKey: key, reason }
  return world.transact(world.tenantId, (tx) => changeInvoice(tx, input, world))
}

/** Numbers, amounts and states as one reads them. */
export function standing(invoices: readonly Invoice[]): string[] {
  return invoices.map(({ number, state, totalMinor, amountDueMinor, currency }) => {
    const money = (minor: bigint) => formatMoney(minor, currency)
    return `${number} ${money(totalMinor)}, ${money(amountDueMinor)} due, ${state}`
  })
}

export async function balanceOf(world: World, customer: string): Promise<string> {
  const page = { after: null, limit: 99 }
  const { balances, entries } = await world.transact(world.tenantId, (tx) => readBalance(tx, customer, page))
  const balanceMinor = balances[0]?.balanceMinor ?? 0n
  const sumMinor = entries.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
  if (sumMinor !== balanceMinor) throw new Error(`A balance of ${balanceMinor} whose entries come to ${sumMinor}.`)
  return formatMoney(balanceMinor, 'USD')
}

const TABLES = [
  'invoices',
  'invoice_lines',
  'billed_usage',
  'invoice_items',
  'credit_grants',
  'credit_uses',
  'customer_balances',
  'balance_entries',
  'carried_amounts',
  'periods_to_bill_again',
  'invoice_changes',
  'payments',
  'billing_events',
  'outbox',
  'subscriptions',
  'invoice_numbers',
]

/** All that billing keeps of the tenant, as one text. */
export function everything(world: World): Promise<string> {
  return world.transact(world.tenantId, async (tx) => {
    const texts: string[] = []
    for (const table of TABLES) {
      const { rows } = await tx.query<{ rows: string }>(
        `SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)::text), '[]')::text AS rows FROM ${table} t`,
      )
      texts.push(`${table}: ${rows[0]?.rows}`)
    }
    return texts.join('\n')
  })
}

export async function eventNames(world: World): Promise<string[]> {
  const { rows } = await world.transact(world.tenantId, (tx) =>
    tx.query<{ event: string; published: boolean }>(
      `SELECT e.event, o.event_id IS NOT NULL AS published FROM billing_events e
       LEFT JOIN outbox o ON o.tenant_id = e.tenant_id AND o.event_id = e.id ORDER BY e.id`,
    ),
  )
  return rows.map(({ event, published }) => (published ? `${event} (told)` : event))
}
