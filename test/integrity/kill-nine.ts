import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { apiOf } from '../support/api.ts'
import {
  type Launched,
  launchStart,
  newDataFolder,
  type Product,
  readyProduct,
  removeDataFolder,
} from '../support/product.ts'
import type { Random } from '../support/random.ts'
import { REPOSITORY } from '../support/source-files.ts'
import { type AskStores, askEmbedded } from './ask-stores.ts'
import { openBilledTenant } from './catalog.ts'
import { identityProblems, invoiceProblems, paymentProblems, usageProblems } from './checks.ts'
import { eventSource } from './events.ts'
import {
  readCharges,
  readIdentities,
  readInvoices,
  readPayments,
  readUsage,
  runBilling,
  tenantIdOf,
} from './read-product.ts'
import type { Plant, TestOrders } from './steps.ts'
import { createLedger, type Ledger, sendAll, sendTraffic } from './traffic.ts'

export type KillNine = { seed: number; kills: number; perSecond: number; plant?: Plant }
export type KillNineReport = {
  ledger: Ledger
  killsWhileServing: number
  killsWhileStarting: number
  identities: string[]
  usage: string[]
  invoices: string[]
  payments: string[]
  runState: string
}

export const ENTRY = join(REPOSITORY, 'test/integrity/product-process.ts')
const SLUG = 'kill-nine'

/** A product process of the tests with its folders. */
export type Rig = {
  folder: string
  control: string
  /** What the gateway was asked. */
  book: string
  ask: AskStores
  launch: (beginsAtMs?: number) => Launched
  /** Its clock begins there; with the machine's if not given. */
  start: (beginsAtMs?: number) => Promise<Product & { key: string }>
  remove: () => Promise<void>
}

export function createRig(plant?: Plant): Rig {
  const folder = newDataFolder()
  const control = mkdtempSync(join(tmpdir(), 'tallyline-control-'))
  const book = join(control, 'charges.ndjson')
  const orders: TestOrders = { control, book, ...(plant ? { plant } : {}) }
  const launch = (beginsAtMs?: number) =>
    launchStart(folder, [ENTRY], { TALLYLINE_TEST: JSON.stringify({ ...orders, beginsAtMs }) })
  return {
    folder,
    control,
    book,
    ask: askEmbedded(folder),
    launch,
    start: async (beginsAtMs) => {
      const product = await readyProduct(launch(beginsAtMs))
      return { ...product, key: await product.printed(/^(tly_\S+)\n/m) }
    },
    remove: async () => {
      rmSync(control, { recursive: true, force: true })
      await removeDataFolder(folder)
    },
  }
}

/**
 * Kills the product again and again while events arrive, most times as it serves and some times as it starts; resends
 * whatever has no answer; then bills the month and compares everything with the ledger.
 */
export async function killNine(options: KillNine): Promise<KillNineReport> {
  const rig = createRig(options.plant)
  try {
    return await killNineIn(rig, options)
  } finally {
    await rig.remove()
  }
}

async function killNineIn(rig: Rig, { seed, kills, perSecond }: KillNine): Promise<KillNineReport> {
  const source = eventSource(seed)
  const ledger = createLedger()
  let product = await rig.start()
  const key = await openBilledTenant(product.url, product.key, SLUG)
  const tenantId = await tenantIdOf(rig.ask, SLUG)
  let killsWhileStarting = 0
  for (let kill = 0; kill < kills; kill++) {
    await serveUntilKilled(product, source.random, (stopped) =>
      sendTraffic(ledger, source, { url: product.url, key }, perSecond, stopped),
    )
    if (kill + 1 < kills && source.random.chance(0.2)) {
      await killStarting(rig.launch(), source.random)
      kill += 1
      killsWhileStarting += 1
    }
    product = await rig.start()
  }
  await sendAll(ledger, source.random, { url: product.url, key })
  const report = await examine(rig, product, key, tenantId, ledger)
  return { ...report, killsWhileServing: kills - killsWhileStarting, killsWhileStarting }
}

/** The moment is drawn: from soon after the start to long enough for the aggregator to be in the middle of its work. */
async function serveUntilKilled(
  product: Product,
  random: Random,
  send: (stopped: () => boolean) => Promise<void>,
): Promise<void> {
  let stopped = false
  const traffic = send(() => stopped)
  await sleep(150 + random.below(1_600))
  await product.crash()
  stopped = true
  await traffic
}

async function killStarting(launched: Launched, random: Random): Promise<void> {
  await sleep(random.below(1_800))
  await launched.crash()
}

/** Bills, reads everything back over the API, stops the product and reads the identities from its ClickHouse. */
async function examine(rig: Rig, product: Product, key: string, tenantId: number, ledger: Ledger) {
  const tenant = apiOf(product.url, key)
  const sent = [...ledger.events.values()]
  // The run's seal waits until everything in the log is stored: what is read after it is complete.
  const run = await runBilling(tenant)
  const usage = usageProblems(sent, await readUsage(tenant))
  const rows = await readInvoices(tenant)
  const payments = paymentProblems(rows, await readPayments(rig.ask, tenantId), readCharges(rig.book))
  await product.stop()
  return {
    ledger,
    identities: identityProblems(ledger.acknowledged, await readIdentities(rig.ask, tenantId)),
    usage,
    invoices: invoiceProblems(sent, rows),
    payments,
    runState: run.parked.length === 0 ? run.state : `${run.state} with parked subscriptions`,
  }
}
