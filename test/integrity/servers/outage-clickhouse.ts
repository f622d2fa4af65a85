import { setTimeout as sleep } from 'node:timers/promises'
import type { Target } from '../traffic.ts'
import { msUntil, type OutageTenant, type OutageWorld, readyStatus, sendRest, underLoad } from './outage-world.ts'
import { awayDuring } from './server-control.ts'

const SERVING_MS = 1_500

export type ClickHouseOutage = {
  target: Target
  /** Of the aggregator that is to tell. */
  aggregatorUrl: string | undefined
  awayMs: number
}

/**
 * ClickHouse is killed under load and stays away until the aggregator says that it is not ready, and for `awayMs` at
 * least. Answers figures.
 */
export async function clickHouseAway(world: OutageWorld, tenant: OutageTenant, outage: ClickHouseOutage) {
  const { ledger } = tenant
  const { target, aggregatorUrl, awayMs } = outage
  const figures = await underLoad(tenant, target, async () => {
    await sleep(SERVING_MS)
    const failedBefore = ledger.failedRequests
    let [notReadyAfterMs, acknowledgedAway] = [0, 0]
    const startMs = await awayDuring(world.stack.clickhouse, async () => {
      const from = ledger.acknowledged.size
      notReadyAfterMs = await msUntil(async () => (await readyStatus(aggregatorUrl)) === 503)
      await sleep(Math.max(0, awayMs - notReadyAfterMs))
      acknowledgedAway = ledger.acknowledged.size - from
    })
    const readyAgainMs = await msUntil(async () => (await readyStatus(aggregatorUrl)) === 200)
    const failedRequests = ledger.failedRequests - failedBefore
    return { acknowledgedAway, failedRequests, notReadyAfterMs, startMs, readyAgainMs }
  })
  await sendRest(tenant, target)
  return figures
}
