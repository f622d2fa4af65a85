import { setTimeout as sleep } from 'node:timers/promises'
import type { Target } from '../traffic.ts'
import { msUntil, type OutageTenant, type OutageWorld, readyStatus, sendRest, underLoad } from './outage-world.ts'

const SERVING_MS = 1_500

/** What goes wrong with ClickHouse's writes for a while; reads go on. */
export type WriteFault = {
  begin(): void
  end(): void
  /** Statements that met it. */
  met(): number
  target: Target
  /** Of the aggregator that stores. */
  aggregatorUrl: string | undefined
  lastsMs: number
}

/** Under load writes go wrong, and come right again. Answers figures; lag is in log records. */
export async function writesGoWrong(world: OutageWorld, tenant: OutageTenant, fault: WriteFault) {
  const { ledger } = tenant
  const figures = await underLoad(tenant, fault.target, async () => {
    await sleep(SERVING_MS)
    const [failedBefore, metBefore, from] = [ledger.failedRequests, fault.met(), ledger.acknowledged.size]
    fault.begin()
    await sleep(fault.lastsMs)
    const acknowledgedMeanwhile = ledger.acknowledged.size - from
    const lag = await lagOf(world)
    await msUntil(() => fault.met() > metBefore)
    fault.end()
    const readyAgainMs = await msUntil(async () => (await readyStatus(fault.aggregatorUrl)) === 200)
    const failedRequests = ledger.failedRequests - failedBefore
    return { acknowledgedMeanwhile, failedRequests, met: fault.met() - metBefore, lag, readyAgainMs }
  })
  await sendRest(tenant, fault.target)
  return figures
}

/** Records of the active log that are not stored yet. */
export async function lagOf({ rig }: OutageWorld): Promise<number> {
  const log = await rig.activeLog()
  const ends = await rig.logEnds(log)
  const [row] = await rig.ask.clickhouse<{ stored: string }>(
    `SELECT toString(sum(end)) AS stored FROM stored_ends(log = '${log.topic}')`,
  )
  return ends.reduce((sum, end) => sum + end, 0) - Number(row?.stored)
}
