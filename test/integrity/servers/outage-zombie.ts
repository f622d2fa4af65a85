import { setTimeout as sleep } from 'node:timers/promises'
import {
  countedProblems,
  msUntil,
  type OutageTenant,
  type OutageWorld,
  sendRest,
  storedProblems,
  underLoad,
} from './outage-world.ts'

const SERVING_MS = 1_500
const WAKING_MS = 15_000

/** How long it sleeps at least, and how long usage may take to come right each time it is looked at. */
export type Zombie = { zombieMs: number; settleMs: number }

/**
 * The first aggregator is stopped in the middle of an insert: ClickHouse is frozen a moment before, so the statement is
 * under way, and thawed after, so it is carried out. A second one takes over and stores everything. Then the first one
 * wakes up with the rows it still holds. Answers what is wrong with usage before that, after it, and when both have gone
 * on for a while, and figures.
 */
export async function wakeZombie(world: OutageWorld, tenant: OutageTenant, { zombieMs, settleMs }: Zombie) {
  const { stack, rig } = world
  const zombie = rig.process('aggregator-1')
  const notedBefore = await noted(world)
  const asleep = await underLoad(tenant, tenant.target, async () => {
    await sleep(SERVING_MS)
    // It is a member and stores what comes: then a frozen store stops it in a statement.
    await msUntil(async () => (await noted(world)) > notedBefore)
    await stack.clickhouse.freeze()
    await sleep(1_000)
    zombie.freeze()
    await stack.clickhouse.thaw()
    const fellAsleepMs = performance.now()
    const from = tenant.ledger.acknowledged.size
    await rig.join('aggregator-2')
    await sleep(Math.max(0, zombieMs - (performance.now() - fellAsleepMs)))
    return { fellAsleepMs, acknowledgedAsleep: tenant.ledger.acknowledged.size - from }
  })
  await sendRest(tenant, tenant.target)
  const lost = await storedProblems(world, tenant)
  const { fellAsleepMs, acknowledgedAsleep } = asleep
  const takenOverMs = Math.round(performance.now() - fellAsleepMs)
  const before = await countedProblems(tenant, settleMs)
  const overlapBefore = await overlap(world)
  zombie.thaw()
  // Mostly its stale progress then stands beside that of the one that took over; it may also have been stopped after it.
  const wokeMs = await msAtMost(WAKING_MS, async () => (await overlap(world)) > overlapBefore)
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

async function noted({ rig }: OutageWorld): Promise<number> {
  const rows = await rig.ask.clickhouse<{ records: string }>(
    'SELECT toString(sum(next_offset - first_offset)) AS records FROM ingest_ranges',
  )
  return Number(rows[0]?.records)
}

async function msAtMost(limitMs: number, isSo: () => Promise<boolean>): Promise<number> {
  const beganMs = performance.now()
  while (performance.now() - beganMs < limitMs && !(await isSo())) await sleep(100)
  return Math.round(performance.now() - beganMs)
}

/** Log records that are noted as stored more than once. */
async function overlap({ rig }: OutageWorld): Promise<number> {
  const rows = await rig.ask.clickhouse<{ records: string }>(
    `SELECT toString(sum(noted - reached)) AS records
     FROM (
       SELECT sum(next_offset - first_offset) AS noted, max(next_offset) AS reached
       FROM ingest_ranges FINAL GROUP BY log, partition
     )`,
  )
  return Number(rows[0]?.records)
}
