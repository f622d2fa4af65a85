import { RUN_STEPS } from '../../invoicer/billing/run/steps.ts'
import { type Api, apiOf } from '../support/api.ts'
import { openBilledTenant } from './catalog.ts'
import { invoiceProblems, paymentProblems } from './checks.ts'
import { eventSource, type TestEvent } from './events.ts'
import { type Crash, dieAt, type Mortal, type Site } from './mortal.ts'
import {
  awaitRun,
  readCharges,
  readInvoices,
  readPayments,
  readRunIds,
  runBilling,
  tenantIdOf,
} from './read-product.ts'
import type { Place, Step } from './steps.ts'
import { createLedger, emit, sendAll } from './traffic.ts'

const EVENTS = 300

type BillingStep = [step: Step, nth: number]
/** In the middle of ten charges: some are made, some are not. */
const CHARGES: BillingStep[] = [
  ['charge-begins', 5],
  ['charge-done', 5],
]

/** Where billing is killed, and at which of the times it gets there; in the order of a run. */
export const BILLING_STEPS = RUN_STEPS.flatMap((step): BillingStep[] => [
  ...(step === 'settle' ? CHARGES : []),
  [`run:${step}`, 1],
])
/** Charged and not settled: the gateway is asked again, under the same key. */
export const ASKED_AGAIN: Step[] = ['run:settle', 'charge-begins', 'charge-done']

export type OpenedBilling = {
  tenantId: number
  tenant: () => Api
  events: TestEvent[]
  /** What is wrong with invoices and payments, in sentences. */
  problems: () => Promise<string[]>
  /** How often the gateway was asked for invoices of the tenant, over all lives and processes. */
  asked: () => Promise<number>
  /** How the runs of the tenant end, or where they stand. */
  runs: () => Promise<string[]>
}
export type CrashedBilling = Crash & {
  /** States of all runs of the tenant. */
  runs: string[]
  problems: string[]
  asked: number
}

/** A tenant with ten customers and events that nobody has billed yet. */
export async function openBilling(site: Site, slug: string, seed: number): Promise<OpenedBilling> {
  const key = await openBilledTenant(site.url(), site.key, slug)
  const tenantId = await tenantIdOf(site.ask, slug)
  const [source, ledger] = [eventSource(seed), createLedger()]
  emit(ledger, source, EVENTS)
  await sendAll(ledger, source.random, { url: site.url(), key })
  if (ledger.surprises.length > 0) throw new Error(ledger.surprises[0])
  const events = [...ledger.events.values()]
  const tenant = () => apiOf(site.url(), key)
  return {
    tenantId,
    tenant,
    events,
    problems: async () => {
      const invoices = await readInvoices(tenant())
      const payments = await readPayments(site.ask, tenantId)
      return [...invoiceProblems(events, invoices), ...paymentProblems(invoices, payments, readCharges(site.book))]
    },
    asked: async () => {
      const own = new Set((await readPayments(site.ask, tenantId)).map(({ invoiceId }) => invoiceId))
      return readCharges(site.book).filter(({ invoiceId }) => own.has(invoiceId)).length
    },
    runs: async () => {
      const states: string[] = []
      for (const { id } of await readRunIds(site.ask, tenantId)) states.push((await awaitRun(tenant(), id)).state)
      return states
    },
  }
}

/** Opens a run that dies at the step, starts what died again, waits for the run and checks what it billed. */
export async function crashBillingAt(invoicer: Mortal, billing: OpenedBilling, place: Place): Promise<CrashedBilling> {
  const crash = await dieAt(invoicer, place, () => openRun(billing))
  await invoicer.start()
  return { ...crash, runs: await billing.runs(), problems: await billing.problems(), asked: await billing.asked() }
}

/** The answer may be lost with the process: the run is there all the same. */
export async function openRun({ tenant }: OpenedBilling): Promise<void> {
  await tenant()
    .send('POST', '/billing-runs', {})
    .catch(() => undefined)
}

export async function billAgain({ tenant, problems }: OpenedBilling) {
  const run = await runBilling(tenant())
  return { run: run.state, invoicesCreated: run.invoices_created, problems: await problems() }
}
