import type { Pool } from 'pg'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseSum, type Quantity, ZERO } from '../../schemas/quantity.ts'
import {
  identitiesOf,
  type Period,
  replaysSince,
  type ShardIdentities,
  type ShardState,
  type ShardUsage,
  type StoredLog,
  shardStates,
  storedLogs,
  usageFromEvents,
  usageFromRollup,
} from './audit.clickhouse.ts'
import { lastSeal, type Seal } from './seal.postgres.ts'

export type AuditDeps = { pool: Pool; store: ClickHouseStore }
type Totals = { events: number; digest: string }

/** A shard whose rollup says something else than its events; '' is the meter that counts every event. */
export type ShardDifference = { shard: number; meter: string; fromEvents: Said; fromRollup: Said }
type Said = { events: string; quantity: string; digest: string } | undefined

export type Audit = {
  equal: boolean
  shards: number
  /** Those that usage is not answered from the rollup of, at present: there is nothing to compare. */
  liveShards: number
  /** Identities whose first copy's time lies in the period. */
  events: Totals
  meters: { meter: string; events: number; quantity: string | undefined }[]
  differences: ShardDifference[]
  seal: SealAudit | undefined
  logs: StoredLog[]
}
export type SealAudit = {
  sealId: string
  knownBeforeMs: number
  logOffsets: Record<string, number[]>
  sealed: Totals
  recomputed: Totals
  equal: boolean
  replaysSince: number
}

/** A shard holds about 10,000 events. */
const SHARDS_AT_ONCE = 100

/**
 * Recomputes a tenant's period from its raw events and compares it with the rollups that usage is answered from, shard
 * by shard, and all that was known before the last seal with that seal. Reads only. May run while events come in: a
 * shard that changes meanwhile is one without a rollup to compare.
 */
export async function auditTenant(deps: AuditDeps, tenant: TenantId, period: Period): Promise<Audit> {
  const { pool, store } = deps
  const seal = await withTenant(pool, tenant, lastSeal)
  const states = await shardStates(store, tenant)
  const found = { events: NONE, recomputed: NONE, meters: new Map<string, MeterTotal>(), liveShards: 0 }
  const differences: ShardDifference[] = []
  for (let from = 0; from < states.length; from += SHARDS_AT_ONCE) {
    const part = states.slice(from, from + SHARDS_AT_ONCE)
    const shards = await auditShards(store, tenant, period, seal?.knownBeforeMs ?? 0, part)
    found.events = total(found.events, shards.identities, 'inPeriod')
    found.recomputed = total(found.recomputed, shards.identities, 'sealed')
    addMeters(found.meters, shards.usage)
    found.liveShards += shards.liveShards
    differences.push(...shards.differences)
  }
  const logs = await storedLogs(store)
  const dense = logs.every(({ end, last }) => end === last)
  const sealAudit = seal && {
    ...compareSeal(seal, found.recomputed),
    replaysSince: await replaysSince(store, tenant, seal.sealedAtMs),
  }
  return {
    equal: differences.length === 0 && dense && (sealAudit?.equal ?? true),
    shards: states.length,
    liveShards: found.liveShards,
    events: found.events,
    meters: [...found.meters].sort().map(([meter, { events, quantity, additive }]) => {
      return { meter, events, quantity: additive ? formatQuantity(quantity) : undefined }
    }),
    differences,
    seal: sealAudit,
    logs,
  }
}

async function auditShards(
  store: ClickHouseStore,
  tenant: TenantId,
  period: Period,
  knownBeforeMs: number,
  states: readonly ShardState[],
) {
  const shards = states.map((state) => state.shard)
  const identities = await identitiesOf(store, tenant, period, knownBeforeMs, shards)
  const usage = await usageFromEvents(store, tenant, period, shards)
  const clean = states.filter((state) => state.clean)
  const rollup = clean.length > 0 ? await usageFromRollup(store, tenant, period, clean) : []
  const same = await unchanged(store, tenant, clean)
  const differences = differencesOf(
    countedStraight(usage, identities).filter((row) => same.has(row.shard)),
    rollup.filter((row) => same.has(row.shard)),
  )
  return { identities, usage, differences, liveShards: states.length - same.size }
}

/** Events and digest of meter '' are those of the raw events, past the views; one that the views do not see is added. */
function countedStraight(usage: readonly ShardUsage[], identities: readonly ShardIdentities[]): ShardUsage[] {
  const straight = new Map(identities.map((one) => [one.shard, one.inPeriod]))
  const seen = new Set(usage.flatMap(({ shard, meter }) => (meter === '' ? [shard] : [])))
  const counted = usage.map((row) => (row.meter === '' ? { ...row, ...straight.get(row.shard) } : row))
  const unseen = identities.filter(({ shard, inPeriod }) => inPeriod.events !== '0' && !seen.has(shard))
  return [
    ...counted,
    ...unseen.map(({ shard, inPeriod }) => {
      return { shard, meter: '', quantity: inPeriod.events, ...inPeriod, rows: '', additive: true }
    }),
  ]
}

/** Shards that nothing came to while they were compared. */
async function unchanged(
  store: ClickHouseStore,
  tenant: TenantId,
  before: readonly ShardState[],
): Promise<Set<number>> {
  if (before.length === 0) return new Set()
  const shards = before.map((state) => state.shard)
  const after = new Map((await shardStates(store, tenant, shards)).map((state) => [state.shard, state]))
  const isSame = ({ shard, run, progress }: ShardState) => {
    const now = after.get(shard)
    return now?.clean === true && now.run === run && now.progress === progress
  }
  return new Set(before.filter(isSame).map((state) => state.shard))
}

function differencesOf(fromEvents: readonly ShardUsage[], fromRollup: readonly ShardUsage[]): ShardDifference[] {
  const keyOf = ({ shard, meter }: ShardUsage) => `${shard} ${meter}`
  const events = new Map(fromEvents.map((row) => [keyOf(row), row]))
  const rollup = new Map(fromRollup.map((row) => [keyOf(row), row]))
  const all = [...new Map([...events, ...rollup])]
  return all.flatMap(([key, { shard, meter }]) => {
    const [ours, theirs] = [events.get(key), rollup.get(key)]
    const equal = (['events', 'quantity', 'digest', 'rows'] as const).every((name) => ours?.[name] === theirs?.[name])
    return equal ? [] : [{ shard, meter, fromEvents: said(ours), fromRollup: said(theirs) }]
  })
}

function said(usage: ShardUsage | undefined): Said {
  return usage && { events: usage.events, quantity: formatQuantity(parseSum(usage.quantity)), digest: usage.digest }
}

function compareSeal(seal: Seal, recomputed: Totals): Omit<SealAudit, 'replaysSince'> {
  const { sealId, knownBeforeMs, logOffsets } = seal
  const sealed = { events: Number(seal.eventCount), digest: seal.digest }
  const equal = sealed.events === recomputed.events && sealed.digest === recomputed.digest
  return { sealId, knownBeforeMs, logOffsets, sealed, recomputed, equal }
}

/** Digests add up modulo 2^128. */
function total(before: Totals, identities: readonly ShardIdentities[], of: 'inPeriod' | 'sealed'): Totals {
  const events = identities.reduce((sum, one) => sum + Number(one[of].events), before.events)
  const add = (sum: bigint, one: ShardIdentities) => BigInt.asUintN(128, sum + BigInt(one[of].digest))
  return { events, digest: String(identities.reduce(add, BigInt(before.digest))) }
}
const NONE: Totals = { events: 0, digest: '0' }

type MeterTotal = { events: number; quantity: Quantity; additive: boolean }

function addMeters(meters: Map<string, MeterTotal>, usage: readonly ShardUsage[]): void {
  for (const { meter, events, quantity, additive } of usage) {
    if (meter === '') continue
    const before = meters.get(meter) ?? { events: 0, quantity: ZERO, additive: true }
    meters.set(meter, {
      events: before.events + Number(events),
      quantity: before.quantity.plus(parseSum(quantity)),
      additive: before.additive && additive,
    })
  }
}
