import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { holdRunToCharge } from '../../billing/run/runs.postgres.ts'
import type { Progress } from '../../billing/run/steps.ts'
import type { Announce } from '../../outbox/announce.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means, Transact } from '../../transaction.ts'
import type { ChargeRequest, ChargeResult, Gateway } from './gateway.ts'
import {
  findUnpaid,
  insertAttempts,
  type LiveAttempt,
  listLiveAttempts,
  listUnpaid,
  lockUnpaid,
  markSent,
  type SettledAttempt,
  type UnpaidInvoice,
  withDue,
} from './payments.postgres.ts'
import { settle } from './settle.ts'

export type CollectDeps = Means & {
  transact: Transact
  gateway: Gateway
  announce: Announce
  stopping: () => boolean
  chunkSize: number
}

/** How many charges are on their way to the gateway at once, and so at most behind the answer that cancelled the run. */
const CHARGES_AT_ONCE = 8

/**
 * Pays what a run issued, each invoice once; false when the process is to stop first. Order of effects, and what a
 * crash before each leaves:
 *   attempt rows with frozen keys, committed   issued invoices without attempt: the next pass makes one
 *   a group noted as sent, committed           attempts `created`: sent with the same key, or withdrawn if the run is cancelled
 *   gateway                                    attempts `created` that may have been sent: sent with the same key
 *   result, invoice paid, outbox, history, one commit   the gateway may have charged: asked again with the same key, it
 *                                              answers what it did, and charges nothing
 *   log lines                                  lines are lost, no money
 * No attempt is made for a run that is cancelled, and no charge begun, unless charging was asked for behind that. Charges
 * that were on their way are written as ever.
 * @throws Problem illegal_state when the run is cancelled.
 */
export async function collectPayments(
  deps: CollectDeps,
  progress: Progress,
  tenantId: TenantId,
  runId: string,
): Promise<boolean> {
  let after: string | null = null
  while (!deps.stopping()) {
    const page: { after: string | null; limit: number } = { after, limit: deps.chunkSize }
    const unpaid = await deps.transact(tenantId, (tx) => listUnpaid(tx, runId, page))
    const last = unpaid.at(-1)
    if (last === undefined) return true
    await progress('attempt')
    const attempts = await openAttempts(deps, tenantId, runId, unpaid)
    await progress('charge')
    const { settled, cancelled } = await chargeAll(deps, tenantId, runId, attempts)
    await progress('settle')
    const charged = new Set(settled.map(({ invoiceId }) => invoiceId))
    const answered = cancelled === undefined ? unpaid : unpaid.filter(({ id }) => charged.has(id))
    await settle(deps, tenantId, runId, answered, settled)
    if (cancelled !== undefined) throw cancelled
    after = last.id
  }
  return false
}

/**
 * Pays an invoice that no run issued, in the same steps. Whoever died on the way is followed by whoever asks again.
 */
export async function collectInvoice(deps: CollectDeps, tenantId: TenantId, invoiceId: string): Promise<void> {
  const unpaid = await deps.transact(tenantId, (tx) => findUnpaid(tx, invoiceId))
  if (unpaid === undefined) return
  const attempts = await openAttempts(deps, tenantId, null, [unpaid])
  const { settled } = await chargeAll(deps, tenantId, null, attempts)
  await settle(deps, tenantId, null, [unpaid], settled)
}

/** One attempt per invoice that owes something: the live one, or a new one. `runId` null: no run issued them. */
async function openAttempts(
  deps: CollectDeps,
  tenantId: TenantId,
  runId: string | null,
  unpaid: readonly UnpaidInvoice[],
): Promise<LiveAttempt[]> {
  const owing = unpaid.filter((invoice) => invoice.amountDueMinor > 0n)
  if (owing.length === 0) return []
  return deps.transact(tenantId, async (tx) => {
    if (runId !== null) await holdRunToCharge(tx, runId)
    const locked = await lockUnpaid(
      tx,
      owing.map((invoice) => invoice.id),
    )
    const open = withDue(owing, locked).filter((invoice) => invoice.amountDueMinor > 0n)
    const wanted = open.map((invoice) => newAttempt(deps.newId(), invoice))
    const atMs = deps.now()
    const fresh = await insertAttempts(tx, deps.gateway.name, wanted, atMs)
    const events = open.flatMap((invoice, index) => {
      const attempt = wanted[index]
      if (attempt === undefined || !fresh.has(attempt.id)) return []
      const ids = { customerId: invoice.customerId, subscriptionId: invoice.subscriptionId, invoiceId: invoice.id }
      const data = { payment_id: attempt.id, gateway: deps.gateway.name }
      return [{ id: deps.newId(), event: 'payment.created' as const, billingRunId: runId, ...ids, data }]
    })
    await insertBillingEvents(tx, events, atMs)
    return listLiveAttempts(tx, deps.gateway.name, [...locked.keys()])
  })
}

function newAttempt(id: string, invoice: UnpaidInvoice): LiveAttempt {
  const { id: invoiceId, amountDueMinor: amountMinor, currency } = invoice
  return { id, invoiceId, idempotencyKey: id, amountMinor, currency }
}

type Charged = { settled: SettledAttempt[]; cancelled?: Problem }

/** Before each of its groups it looks whether the run was cancelled; then it leaves the rest, and says so. */
async function chargeAll(
  { transact, gateway }: CollectDeps,
  tenantId: TenantId,
  runId: string | null,
  attempts: readonly LiveAttempt[],
): Promise<Charged> {
  const settled: SettledAttempt[] = []
  for (let from = 0; from < attempts.length; from += CHARGES_AT_ONCE) {
    const group = attempts.slice(from, from + CHARGES_AT_ONCE)
    let some: LiveAttempt[]
    try {
      some = await transact(tenantId, (tx) => noteSent(tx, runId, group))
    } catch (error) {
      // What was charged until then is to be written, whatever stopped it.
      if (error instanceof Problem && error.code === 'illegal_state') return { settled, cancelled: error }
      throw error
    }
    settled.push(
      ...(await Promise.all(some.map(async (attempt) => ({ ...attempt, result: await charge(gateway, attempt) })))),
    )
  }
  return { settled }
}

/** Those of the attempts that are still to be sent. @throws Problem illegal_state when the run is cancelled. */
async function noteSent(
  tx: TenantTransaction,
  runId: string | null,
  attempts: readonly LiveAttempt[],
): Promise<LiveAttempt[]> {
  if (runId !== null) await holdRunToCharge(tx, runId)
  await lockUnpaid(
    tx,
    attempts.map(({ invoiceId }) => invoiceId),
  )
  const sent = await markSent(
    tx,
    attempts.map(({ id }) => id),
  )
  return attempts.filter(({ id }) => sent.has(id))
}

/** An exception says nothing about whether the money moved. */
export async function charge(gateway: Gateway, attempt: ChargeRequest): Promise<ChargeResult> {
  try {
    return await gateway.charge(attempt)
  } catch (error) {
    return { outcome: 'unknown', reason: error instanceof Error ? error.message : String(error) }
  }
}
