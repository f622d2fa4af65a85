import { type Api, apiOf } from '../support/api.ts'
import { eventually } from '../support/product.ts'
import { openBilledTenant } from './catalog.ts'
import { identityProblems, usageProblems } from './checks.ts'
import { type EventSource, eventSource } from './events.ts'
import type { Site } from './mortal.ts'
import { readIdentities, readUsage, tenantIdOf } from './read-product.ts'
import { createLedger, emit, type Ledger, sendAll, sendBatch } from './traffic.ts'

/** One tenant whose events go through crashes, each crash meeting what the ones before it left. */
export type TrafficWorld = {
  ledger: Ledger
  source: EventSource
  tenantId: number
  tenant: () => Api
  /** New events, and all that wait, until none waits or a request has no answer. */
  sendUntilSilent: (count: number) => Promise<void>
  /** New events, and all that wait, again and again until each is acknowledged. */
  sendAll: (count: number) => Promise<void>
  /** Sends everything that has no answer, then what is wrong with usage once it has had time to come right. */
  settle: (limitMs?: number) => Promise<string[]>
  /** Compares what is stored with what was acknowledged. */
  compareIdentities: () => Promise<string[]>
}

export async function openTraffic(site: Site, slug: string, seed: number): Promise<TrafficWorld> {
  const key = await openBilledTenant(site.url(), site.key, slug)
  const tenantId = await tenantIdOf(site.ask, slug)
  const source = eventSource(seed)
  const ledger = createLedger()
  const target = () => ({ url: site.url(), key })
  const tenant = () => apiOf(site.url(), key)
  return {
    ledger,
    source,
    tenantId,
    tenant,
    sendUntilSilent: async (count) => {
      emit(ledger, source, count)
      while (ledger.waiting.length > 0 && (await sendBatch(ledger, source.random, target())));
    },
    sendAll: (count) => {
      emit(ledger, source, count)
      return sendAll(ledger, source.random, target())
    },
    settle: async (limitMs) => {
      await sendAll(ledger, source.random, target())
      const events = [...ledger.events.values()]
      const problems = async () => usageProblems(events, await readUsage(tenant()))
      return eventually(problems, (found) => found.length === 0, limitMs)
    },
    compareIdentities: async () => identityProblems(ledger.acknowledged, await readIdentities(site.ask, tenantId)),
  }
}
