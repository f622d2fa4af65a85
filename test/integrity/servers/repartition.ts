import { setTimeout as sleep } from 'node:timers/promises'
import type { EventLogTopic } from '../../../ops/migrate/migrate.kafka.ts'
import { keyOf } from '../events.ts'
import { awaitRun, type Run, readIdentities } from '../read-product.ts'
import { emit } from '../traffic.ts'
import { sendCopies } from './identity-world.ts'
import { startOutageRole } from './outage-role.ts'
import {
  billedProblems,
  msUntil,
  type OutageTenant,
  type OutageWorld,
  sendRest,
  storedProblems,
  underLoad,
} from './outage-world.ts'
import { lagOf } from './outage-writes.ts'

const SERVING_MS = 1_500
const EVENTS = 300
/** An aggregator looks for seals to give every 2 s, and waits 1 s for the clock. */
const SEALED_WITHIN_MS = 6_000

/**
 * Under load the log ends and one with 12 partitions begins. Then processes are restarted one after the other, as an
 * operator does: first one ingest, so that both logs are written to at once, then the aggregator, then the other
 * ingest; copies of everything go into both. Answers figures.
 */
export async function repartition(world: OutageWorld, tenant: OutageTenant) {
  const { rig } = world
  const { ledger, target } = tenant
  const first = await rig.activeLog()
  const figures = await underLoad(tenant, target, async () => {
    await sleep(SERVING_MS)
    const second = await rig.beginLog(12)
    const recordsAtEnd = await recordsOf(world, first)
    await sleep(SERVING_MS)
    const firstLogAfterItsEnd = (await recordsOf(world, first)) - recordsAtEnd
    await rig.process('ingest-1').restart()
    const slow = { ...target, url: rig.process('ingest-2').url() ?? '' }
    const some = ledger.done.slice(0, EVENTS)
    await Promise.all([sendCopies(tenant, some), sendCopies({ ...tenant, target: slow }, some)])
    await rig.process('aggregator-1').restart()
    await rig.process('ingest-2').restart()
    const copiesAcross = (await sendCopies(tenant, ledger.done)).length
    return { second, firstLogAfterItsEnd, copiesAcross }
  })
  await sendRest(tenant, target)
  await msUntil(async () => (await lagOf(world)) === 0)
  const { second, ...counts } = figures
  const eventsOfSecondLog = await eventsOf(world, second)
  return { partitions: [first.partitions, second.partitions], ...counts, eventsOfSecondLog }
}

/**
 * Another log begins and is written to, while the aggregator was not restarted: how far a billing run comes. Then the
 * aggregator is, and the run ends: the logs of its seal, and what is wrong with its invoices.
 */
export async function sealBetween(world: OutageWorld, tenant: OutageTenant) {
  const { rig } = world
  await rig.beginLog(6)
  for (const name of ['ingest-1', 'ingest-2']) await rig.process(name).restart()
  emit(tenant.ledger, tenant.source, EVENTS)
  await sendRest(tenant, tenant.target)
  const run = await tenant.api.call<Run>('POST', '/billing-runs', {})
  await sleep(SEALED_WITHIN_MS)
  const whileOneLogIsUnread = (await tenant.api.call<Run>('GET', `/billing-runs/${run.id}`)).state
  await rig.process('aggregator-1').restart()
  const { state } = await awaitRun(tenant.api, run.id)
  const seals = await rig.ask.postgres<{ log_offsets: object }>('SELECT log_offsets FROM seals WHERE tenant_id = $1', [
    tenant.id,
  ])
  const problems = [...(state === 'completed' ? [] : [`the run is ${state}`]), ...(await billedProblems(world, tenant))]
  return { whileOneLogIsUnread, logs: seals.flatMap((seal) => Object.keys(seal.log_offsets)), problems }
}

/** A log ends with a rest that nobody has read; the aggregator that starts then forgets it. What is wrong afterwards. */
export async function forgetEndedLog(world: OutageWorld, tenant: OutageTenant): Promise<string[]> {
  const { rig } = world
  await rig.process('aggregator-1').stop()
  emit(tenant.ledger, tenant.source, EVENTS)
  await sendRest(tenant, tenant.target)
  const before = new Set(tenant.ledger.events.keys())
  await rig.beginLog(4)
  for (const name of ['ingest-1', 'ingest-2']) await rig.process(name).restart()
  const planted = await startOutageRole(world, { role: 'aggregator', plant: 'forget-ended-logs' })
  emit(tenant.ledger, tenant.source, EVENTS)
  await sendRest(tenant, tenant.target)
  const later = [...tenant.ledger.events.values()].map(keyOf).filter((key) => !before.has(key))
  await msUntil(async () => {
    const stored = new Set(await readIdentities(rig.ask, tenant.id))
    return later.every((key) => stored.has(key))
  })
  const problems = await storedProblems(world, tenant, 0)
  await planted.stop()
  await rig.process('aggregator-1').start()
  return problems
}

async function recordsOf({ rig }: OutageWorld, log: EventLogTopic): Promise<number> {
  return (await rig.logEnds(log)).reduce((sum, end) => sum + end, 0)
}

async function eventsOf({ rig }: OutageWorld, { topic }: EventLogTopic): Promise<number> {
  const [row] = await rig.ask.clickhouse<{ events: string }>(
    `SELECT toString(sum(events)) AS events FROM ingest_ranges FINAL WHERE log = '${topic}'`,
  )
  return Number(row?.events)
}
