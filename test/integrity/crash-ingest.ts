import { type Api, apiOf } from '../support/api.ts'
import { type Exit, eventually, type Product } from '../support/product.ts'
import { openTenant, setUpMeters } from './catalog.ts'
import { identityProblems, usageProblems } from './checks.ts'
import { type EventSource, eventSource } from './events.ts'
import { createRig, type Rig } from './kill-nine.ts'
import { readIdentities, readUsage, tenantIdOf } from './read-product.ts'
import { arm, type Plant, reached, type Step } from './steps.ts'
import { createLedger, emit, type Ledger, sendAll, sendBatch } from './traffic.ts'

const EVENTS_PER_STEP = 400
const SLUG = 'crash-steps'

/** A product with one tenant that goes through crashes, each meeting what the ones before it left. */
export type CrashWorld = {
  ledger: Ledger
  source: EventSource
  product: () => Product
  tenant: () => Api
  /** Events arrive until the process dies at the step; then it is started again. */
  crashAt: (step: Step, provoke?: () => Promise<void>) => Promise<{ exit: Exit; reached: string | undefined }>
  /** Sends everything again that has no answer, then what is wrong with usage once it has had time to come right. */
  settle: (limitMs?: number) => Promise<string[]>
  /** Stops the product and compares what is stored with what was acknowledged. */
  compareIdentities: () => Promise<string[]>
  remove: () => Promise<void>
}

export async function openCrashWorld(seed: number, plant?: Plant): Promise<CrashWorld> {
  const rig: Rig = createRig(plant)
  const source = eventSource(seed)
  const ledger = createLedger()
  let product = await rig.start()
  const key = await openTenant(apiOf(product.url, product.key), SLUG)
  await setUpMeters(apiOf(product.url, key))
  const tenantId = await tenantIdOf(rig.folder, SLUG)
  const target = () => ({ url: product.url, key })
  const tenant = () => apiOf(product.url, key)
  // Steps of ingest die within the first request; the others some time after the last one.
  const sendUntilSilent = async () => {
    emit(ledger, source, EVENTS_PER_STEP)
    while (ledger.waiting.length > 0 && (await sendBatch(ledger, source.random, target())));
  }
  return {
    ledger,
    source,
    product: () => product,
    tenant,
    crashAt: async (step, provoke = sendUntilSilent) => {
      arm(rig.control, step)
      await provoke()
      const exit = await product.exited
      const marker = reached(rig.control)
      product = await rig.start()
      return { exit, reached: marker }
    },
    settle: async (limitMs) => {
      await sendAll(ledger, source.random, target())
      const events = [...ledger.events.values()]
      const problems = async () => usageProblems(events, await readUsage(tenant()))
      return eventually(problems, (found) => found.length === 0, limitMs)
    },
    compareIdentities: async () => {
      await product.stop()
      return identityProblems(ledger.acknowledged, await readIdentities(rig.folder, tenantId))
    },
    remove: () => rig.remove(),
  }
}
