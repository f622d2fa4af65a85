import { setTimeout as sleep } from 'node:timers/promises'
import {
  countedProblems,
  msUntil,
  type OutageTenant,
  type ProxiedWorld,
  sendRest,
  storedProblems,
  underLoad,
} from './outage-world.ts'

const SERVING_MS = 1_500

/** How long it sleeps at least, and how long usage may take to come right each time it is looked at. */
export type Zombie = { zombieMs: number; settleMs: number }

/**
 * The first aggregator is stopped in the middle of its insert of events: it has sent all of the statement, and the
 * answer is still to come. A second one takes over and stores everything. Then the first one wakes up: only now is its
 * insert carried out, and it goes on with the marks and ranges of what it holds, whatever it has become meanwhile, since
 * nothing is looked at between the three statements. Answers what is wrong with usage before that, after it, and when
 * both have gone on for a while, and figures.
 */
export async function wakeZombie(world: ProxiedWorld, tenant: OutageTenant, { zombieMs, settleMs }: Zombie) {
  const { proxy, rig } = world
  const zombie = rig.process('aggregator-1')
  const asleep = await underLoad(tenant, tenant.target, async () => {
    await sleep(SERVING_MS)
    const insert = proxy.holdNext('events')
    await msUntil(insert.isHeld)
    zombie.freeze()
    const fellAsleepMs = performance.now()
    const from = tenant.ledger.acknowledged.size
    await rig.join('aggregator-2')
    await sleep(Math.max(0, zombieMs - (performance.now() - fellAsleepMs)))
    return { insert, fellAsleepMs, acknowledgedAsleep: tenant.ledger.acknowledged.size - from }
  })
  await sendRest(tenant, tenant.target)
  const lost = await storedProblems(world, tenant)
  const { insert, fellAsleepMs, acknowledgedAsleep } = asleep
  const takenOverMs = Math.round(performance.now() - fellAsleepMs)
  const before = await countedProblems(tenant, settleMs)
  const overlapBefore = await overlap(world)
  zombie.thaw()
  insert.release()
  // Its stale progress then stands beside that of the one that took over, which read further: no two ranges are alike.
  const wokeMs = await msUntil(async () => (await overlap(world)) > overlapBefore)
  const staleRecords = (await overlap(world)) - overlapBefore
  const awake = await countedProblems(tenant, settleMs)
  // Both go on, and more comes.
  await underLoad(tenant, tenant.target, () => sleep(SERVING_MS))
  await sendRest(tenant, tenant.target)
  lost.push(...(await storedProblems(world, tenant)))
  return {
    lost,
    before,
    awake,
    after: await countedProblems(tenant, settleMs),
    figures: { acknowledgedAsleep, takenOverMs, wokeMs, staleRecords },
  }
}

/** Log records that are noted as stored more than once. */
async function overlap({ rig }: ProxiedWorld): Promise<number> {
  const rows = await rig.ask.clickhouse<{ records: string }>(
    `SELECT toString(sum(noted - reached)) AS records
     FROM (
       SELECT sum(next_offset - first_offset) AS noted, max(next_offset) AS reached
       FROM ingest_ranges FINAL GROUP BY log, partition
     )`,
  )
  return Number(rows[0]?.records)
}
