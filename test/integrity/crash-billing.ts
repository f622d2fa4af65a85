import { apiOf } from '../support/api.ts'
import type { Exit, Product } from '../support/product.ts'
import { openBilledTenant } from './catalog.ts'
import { invoiceProblems, paymentProblems } from './checks.ts'
import { eventSource, type TestEvent } from './events.ts'
import type { Rig } from './kill-nine.ts'
import {
  awaitRun,
  readCharges,
  readInvoices,
  readPayments,
  readRunIds,
  runBilling,
  tenantIdOf,
} from './read-product.ts'
import { arm, reached, type Step } from './steps.ts'
import { createLedger, emit, sendAll } from './traffic.ts'

const EVENTS = 300

export type OpenedBilling = { slug: string; key: string; events: TestEvent[] }
export type CrashedBilling = {
  product: Product & { key: string }
  exit: Exit
  reached: string | undefined
  /** States of all runs of the tenant. */
  runs: string[]
  problems: string[]
  /** How often the gateway was asked for invoices of the tenant, over both lives of the process. */
  asked: number
  billAgain: () => Promise<{ run: string; invoicesCreated: number; problems: string[] }>
}

/** A tenant with ten customers and events that nobody has billed yet. */
export async function openBillingCrash(
  product: Product & { key: string },
  slug: string,
  seed: number,
): Promise<OpenedBilling> {
  const key = await openBilledTenant(product.url, product.key, slug)
  const [source, ledger] = [eventSource(seed), createLedger()]
  emit(ledger, source, EVENTS)
  await sendAll(ledger, source.random, { url: product.url, key })
  if (ledger.surprises.length > 0) throw new Error(ledger.surprises[0])
  return { slug, key, events: [...ledger.events.values()] }
}

/** Opens a run that dies at the step, starts the product again, waits for the run and checks what it billed. */
export async function crashBillingAt(
  rig: Rig,
  product: Product,
  { slug, key, events }: OpenedBilling,
  { step, nth }: { step: Step; nth: number },
): Promise<CrashedBilling> {
  const tenantId = await tenantIdOf(rig.folder, slug)
  arm(rig.control, step, nth)
  // The answer may be lost with the process: the run is there all the same.
  await apiOf(product.url, key)
    .send('POST', '/billing-runs', {})
    .catch(() => undefined)
  const exit = await product.exited
  const marker = reached(rig.control)
  const restarted = await rig.start()
  const tenant = apiOf(restarted.url, key)
  const runs: string[] = []
  for (const { id } of await readRunIds(rig.folder, tenantId)) runs.push((await awaitRun(tenant, id)).state)
  const examine = async () => {
    const invoices = await readInvoices(tenant)
    const payments = await readPayments(rig.folder, tenantId)
    return [...invoiceProblems(events, invoices), ...paymentProblems(invoices, payments, readCharges(rig.control))]
  }
  return {
    product: restarted,
    exit,
    reached: marker,
    runs,
    problems: await examine(),
    asked: await countAsked(rig, tenantId),
    billAgain: async () => {
      const run = await runBilling(tenant)
      return { run: run.state, invoicesCreated: run.invoices_created, problems: await examine() }
    },
  }
}

async function countAsked(rig: Rig, tenantId: number): Promise<number> {
  const own = new Set((await readPayments(rig.folder, tenantId)).map(({ invoiceId }) => invoiceId))
  return readCharges(rig.control).filter(({ invoiceId }) => own.has(invoiceId)).length
}
