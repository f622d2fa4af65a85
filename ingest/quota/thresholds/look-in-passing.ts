import type { Logger } from 'pino'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { ConfigCache, TenantConfig } from '../../accept/config.ts'
import { groupBy } from '../../group-by.ts'
import type { CounterAdmin, LivingCounter } from '../counter-admin.ts'
import type { QuotaLimit } from '../limit.ts'
import { drawsFor } from '../limit-draws.ts'
import { type CounterKey, counterId } from '../quota-store.ts'
import { fullestOf, windowsOf } from '../rolling.ts'
import { limitsOn, untoldReached } from './look.ts'
import type { ThresholdWatch } from './watch.ts'

export type PassingDeps = {
  config: Pick<ConfigCache, 'get'>
  /** The subjects of customers, by the customers' ids. */
  subjectsOf: (tenant: TenantId, customerIds: readonly string[]) => Promise<ReadonlyMap<string, readonly string[]>>
  watch: Pick<ThresholdWatch, 'remembered' | 'queue'>
  logger: Logger
}

/**
 * The same counters, and while they pass by, those that have reached a level of which this process does not know that it
 * was told are queued to be looked at. Who compares counters with usage passes by all of them every minute, in one
 * process: that finds what a process did not tell before it was killed, and what limits that changed have reached.
 */
export function lookInPassing<Counters extends CounterAdmin>(counters: Counters, deps: PassingDeps): Counters {
  return {
    ...counters,
    livingCounters: async function* (nowMs: number, tenant?: TenantId) {
      for await (const page of counters.livingCounters(nowMs, tenant)) {
        await passBy(counters, deps, page, nowMs).catch((error: unknown) => {
          const members = { service: 'ingest', event: 'thresholds_wait', err: error }
          deps.logger.warn(members, 'counters passed by and were not looked at; the next ones are in a minute')
        })
        yield page
      }
    },
  }
}

async function passBy(
  counters: Pick<CounterAdmin, 'lookAt'>,
  { config, subjectsOf, watch }: PassingDeps,
  page: readonly LivingCounter[],
  nowMs: number,
): Promise<void> {
  const seen = await withSums(counters, page, nowMs)
  for (const ofTenant of groupBy(seen, ({ counter }) => String(counter.tenant)).values()) {
    const tenant = ofTenant[0]?.counter.tenant ?? 0
    const shared = ofTenant.flatMap(({ counter }) => (counter.ofCustomer ? [counter.subject] : []))
    const subjects = shared.length === 0 ? new Map<string, string[]>() : await subjectsOf(tenant, shared)
    const known = await config.get(tenant)
    for (const { counter, usedMicro } of ofTenant) {
      if (usedMicro === undefined) continue
      const whose = counter.ofCustomer ? (subjects.get(counter.subject) ?? []) : [counter.subject]
      const limits = firstLimitsOn(known, counter, whose)
      if (untoldReached({ counter, told: [] }, limits, usedMicro).length === 0) continue
      const [draw] = drawsFor(
        limits.map((limit) => ({ counter, limit })),
        0n,
      )
      if (!draw) continue
      const watched = watch.remembered(draw)
      if (untoldReached(watched, limits, usedMicro).length > 0) watch.queue(watched)
    }
  }
}

/**
 * The same, of rolling limits only the bucket that holds the present, with what stands against the limit: it is there
 * before its time comes. Buckets that are not loaded count as nothing: the next draw loads them.
 */
async function withSums(
  counters: Pick<CounterAdmin, 'lookAt'>,
  page: readonly LivingCounter[],
  nowMs: number,
): Promise<LivingCounter[]> {
  const isPresent = ({ startMs, endMs }: CounterKey) => startMs <= nowMs && nowMs < endMs
  const [buckets, plain] = [
    page.filter(({ counter }) => counter.rolling),
    page.filter(({ counter }) => !counter.rolling),
  ]
  const present = buckets.filter(({ counter }) => isPresent(counter))
  if (present.length === 0) return plain
  const windows = present.map(({ counter }) => windowsOf({ ...counter }, nowMs))
  const beside = new Map(windows.flat(2).map((counter) => [counterId(counter), counter]))
  const used = new Map<string, bigint>()
  for (const one of await counters.lookAt([...beside.values()], nowMs))
    used.set(counterId(one.counter), one.usedMicro ?? 0n)
  const sums = present.map((one, place) => {
    const usedMicro = fullestOf(windows[place] ?? [], (counter) => used.get(counterId(counter)) ?? 0n)
    return { ...one, usedMicro }
  })
  return [...plain, ...sums]
}

/** The limits of the first of the subjects that has any on the counter: others of a customer may have their own instead. */
function firstLimitsOn(config: TenantConfig, counter: CounterKey, subjects: readonly string[]): QuotaLimit[] {
  for (const subject of subjects) {
    const limits = limitsOn(config, counter, subject)
    if (limits.length > 0) return limits
  }
  return []
}
