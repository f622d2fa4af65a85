import { setTimeout as sleep } from 'node:timers/promises'
import type { Target } from '../traffic.ts'
import { msUntil, type OutageTenant, type OutageWorld, sendRest, underLoad } from './outage-world.ts'
import { awayDuring } from './server-control.ts'

const SERVING_MS = 1_500

/** Kafka is killed under load and comes back on its port and data after a while. Answers figures. */
export async function killKafka({ stack }: OutageWorld, tenant: OutageTenant, target: Target, awayMs: number) {
  const { ledger } = tenant
  const figures = await underLoad(tenant, target, async () => {
    await sleep(SERVING_MS)
    const acknowledgedBefore = ledger.acknowledged.size
    let acknowledgedAway = 0
    const startMs = await awayDuring(stack.kafka, async () => {
      // Answers under way when it died have come by then.
      await sleep(500)
      const from = ledger.acknowledged.size
      await sleep(awayMs)
      acknowledgedAway = ledger.acknowledged.size - from
    })
    const atStart = ledger.acknowledged.size
    const acceptsAgainMs = await msUntil(() => ledger.acknowledged.size > atStart)
    return { acknowledgedBefore, acknowledgedAway, startMs, acceptsAgainMs }
  })
  await sendRest(tenant, target)
  return { ...figures, failedRequests: ledger.failedRequests }
}
