import { type Stack, startStack } from '../../../ops/stack/stack.ts'
import { type Api, apiOf } from '../../support/api.ts'
import { eventually } from '../../support/product.ts'
import { openBilledTenant } from '../catalog.ts'
import { identityProblems, invoiceProblems, paymentProblems, usageProblems } from '../checks.ts'
import { type EventSource, eventSource } from '../events.ts'
import { readCharges, readIdentities, readInvoices, readPayments, readUsage, tenantIdOf } from '../read-product.ts'
import { createLedger, type Ledger, sendAll, sendTraffic, type Target } from '../traffic.ts'
import { type ClickHouseProxy, startClickHouseProxy } from './clickhouse-proxy.ts'
import { createServersRig, type RigOptions, type ServersRig } from './rig.ts'

/** The servers and the product on them. Faults come one after the other, each meeting what the ones before it left. */
export type OutageWorld = { stack: Stack; rig: ServersRig; remove: () => Promise<void> }

/** The same, with a proxy between the rig's processes and ClickHouse. */
export type ProxiedWorld = OutageWorld & { proxy: ClickHouseProxy }

/** A tenant with ten customers on a plan, and an emitter that knows what it sent. */
export type OutageTenant = {
  id: number
  api: Api
  source: EventSource
  ledger: Ledger
  target: Target
}

const EVENTS_PER_SECOND = 250
/** A bound against hanging: recovery takes seconds. */
export const RECOVERY_LIMIT_MS = 120_000

export async function openOutageWorld(options?: RigOptions): Promise<OutageWorld> {
  const stack = await startStack({})
  try {
    const rig = await createServersRig(stack.env, options)
    const remove = async () => {
      await rig.remove()
      await stack.stop()
    }
    return { stack, rig, remove }
  } catch (error) {
    await stack.stop()
    throw error
  }
}

export async function openProxiedWorld(options?: RigOptions): Promise<ProxiedWorld> {
  const stack = await startStack({})
  const proxy = await startClickHouseProxy(stack.clickhouse.url)
  const stop = () => Promise.all([proxy.close(), stack.stop()])
  try {
    const rig = await createServersRig({ ...stack.env, CLICKHOUSE_URL: proxy.url }, options)
    const remove = async () => {
      await rig.remove()
      await stop()
    }
    return { stack, rig, proxy, remove }
  } catch (error) {
    await stop()
    throw error
  }
}

export async function openOutageTenant({ rig }: OutageWorld, slug: string, seed: number): Promise<OutageTenant> {
  const key = await openBilledTenant(rig.url, rig.key, slug)
  const id = await tenantIdOf(rig.ask, slug)
  const target = { url: rig.url, key }
  return { id, api: apiOf(rig.url, key), source: eventSource(seed), ledger: createLedger(), target }
}

/** The emitter goes on while the fault happens; what has no answer is sent again, at the latest when it is over. */
export async function underLoad<T>(tenant: OutageTenant, target: Target, fault: () => Promise<T>): Promise<T> {
  const { ledger, source } = tenant
  let stopped = false
  const traffic = sendTraffic(ledger, source, target, EVENTS_PER_SECOND, () => stopped)
  try {
    return await fault()
  } finally {
    stopped = true
    await traffic
  }
}

/** Everything has an answer. */
export async function sendRest({ ledger, source }: OutageTenant, target: Target): Promise<void> {
  await sendAll(ledger, source.random, target)
}

/** What is wrong with the stored set (C1), once it has had time to come right. */
export function storedProblems({ rig }: OutageWorld, { id, ledger }: OutageTenant, limitMs = RECOVERY_LIMIT_MS) {
  const look = async () => identityProblems(ledger.acknowledged, await readIdentities(rig.ask, id))
  return eventually(look, (found) => found.length === 0, limitMs)
}

/** What is wrong with usage (C2), once it has had time to come right. */
export function countedProblems({ api, ledger }: OutageTenant, limitMs = RECOVERY_LIMIT_MS): Promise<string[]> {
  const look = async () => usageProblems(ledger.events.values(), await readUsage(api))
  return eventually(look, (found) => found.length === 0, limitMs)
}

/** What is wrong with invoices and payments (C3, C5) of a tenant whose month was billed. */
export async function billedProblems({ rig }: OutageWorld, { id, api, ledger }: OutageTenant): Promise<string[]> {
  const invoices = await readInvoices(api)
  const payments = await readPayments(rig.ask, id)
  return [
    ...invoiceProblems(ledger.events.values(), invoices),
    ...paymentProblems(invoices, payments, readCharges(rig.book)),
  ]
}

/** Everything acknowledged is stored and counted, nothing twice, and the emitter had only answers that it expects. */
export async function problemsOf(world: OutageWorld, tenant: OutageTenant): Promise<string[]> {
  return [...tenant.ledger.surprises, ...(await storedProblems(world, tenant)), ...(await countedProblems(tenant))]
}

export async function readyStatus(url: string | undefined): Promise<number> {
  if (url === undefined) return 0
  return (await fetch(`${url}/readyz`)).status
}

/** Milliseconds until it is so; the limit when it never is. */
export async function msUntil(isSo: () => boolean | Promise<boolean>): Promise<number> {
  const beganMs = performance.now()
  const became = await eventually(async () => isSo(), Boolean, RECOVERY_LIMIT_MS)
  if (!became) throw new Error(`It did not happen within ${RECOVERY_LIMIT_MS} ms: ${isSo}`)
  return Math.round(performance.now() - beganMs)
}
