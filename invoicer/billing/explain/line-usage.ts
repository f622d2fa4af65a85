import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { ADDED_UP } from '../../../schemas/meter/aggregation.ts'
import { propertyAt } from '../../../schemas/meter/path.ts'
import { formatQuantity, parseQuantity, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import {
  type Counted,
  countingDetail,
  type EventDetail,
  type EventsAlike,
  propertiesOf,
  readingOfDetail,
} from '../counted.ts'
import { type AggregatedEvent, aggregate } from '../quote/aggregate.ts'
import type { MeteredUsage } from '../usage.ts'
import { type CountedEvent, countedBy, isWithin, type Times } from './counted-events.ts'
import type { EventReader, IdentityQuery, Meter, Place } from './events.ts'

/** What a line counted: of a meter, for some subjects, in some times, as known before the seal's W. */
export type LineUsage = {
  meter: string
  subjects: readonly string[]
  times: Times
  /** A level was averaged over so much, of which these times are parts; by default over these. */
  averagedOverMs?: number | undefined
  knownBeforeMs: number
  /** What its price, or the line, needs of single events; of meters that add up. */
  detail?: EventDetail | undefined
}
export type EventPage = { events: CountedEvent[]; next: Place | undefined }

const IDENTITIES_AT_ONCE = 1_000
const DIGEST_MODULUS = 1n << 128n

/** The events that a line counted, behind a place, in the order in which they are stored; so many at most. */
export async function pageOfEvents(
  reader: EventReader,
  tenantId: TenantId,
  asked: LineUsage,
  after: Place | undefined,
  limit: number,
): Promise<EventPage> {
  const meter = await knownMeter(reader, tenantId, asked.meter)
  const events: CountedEvent[] = []
  for await (const event of countedEvents(reader, tenantId, meter, asked, after)) {
    if (!isWithin(asked.times, event.effective.timeMs)) continue
    if (events.length === limit) return { events, next: events.at(-1)?.identity }
    events.push(event)
  }
  return { events, next: undefined }
}

/** What a line's quantity, number of events and digest come to, counted again from what was sent. */
export async function countAgain(reader: EventReader, tenantId: TenantId, asked: LineUsage): Promise<MeteredUsage> {
  const meter = await knownMeter(reader, tenantId, asked.meter)
  const addsUp = ADDED_UP.includes(meter.aggregation)
  const kept: Kept[] = []
  const detailed = addsUp && asked.detail ? countDetail(asked.detail) : undefined
  let [quantity, events, digest] = [ZERO, 0, 0n]
  for await (const event of countedEvents(reader, tenantId, meter, asked, undefined)) {
    const { identity, effective, text } = event
    const isCounted = isWithin(asked.times, effective.timeMs)
    if (isCounted) {
      events += 1
      digest = (digest + identity.hash) % DIGEST_MODULUS
      detailed?.add(event)
    }
    if (addsUp) quantity = isCounted ? quantity.plus(event.quantity) : quantity
    else if (isCounted || readsFromBefore(meter))
      kept.push({ timeMs: effective.timeMs, value: event.quantity, text, version: identity.first?.version ?? 0n })
  }
  const usage = { quantity: addsUp ? quantity : aggregated(meter, asked, kept), events, digest }
  return detailed ? { ...usage, counted: detailed.counted() } : usage
}

/** In the order of (time, known_at) where that matters: then the events are held until all are there. */
function countDetail(detail: EventDetail): { add: (event: CountedEvent) => void; counted: () => Counted } {
  const counting = countingDetail(detail)
  const properties = propertiesOf(detail)
  const held: { timeMs: number; version: bigint; alike: EventsAlike }[] = []
  const inOrder = readingOfDetail(detail) === 'order'
  return {
    add: ({ quantity, data, effective: { timeMs }, identity: { first } }) => {
      const found = properties.map(({ name, path }) => [name, propertyAt(data, path)])
      const alike = { each: quantity, quantity, events: 1, properties: Object.fromEntries(found) }
      if (inOrder) held.push({ timeMs, version: first?.version ?? 0n, alike })
      else counting.add(alike)
    },
    counted: () => {
      held.sort(byTimeAndKnown)
      for (const { alike } of held) counting.add(alike)
      return counting.counted()
    },
  }
}

/** The higher its version the earlier an event became known. */
function byTimeAndKnown(a: { timeMs: number; version: bigint }, b: { timeMs: number; version: bigint }): number {
  return a.timeMs - b.timeMs || Number(b.version > a.version) - Number(b.version < a.version)
}

/** What is kept of an event where events do not just add up: there may be millions. */
type Kept = AggregatedEvent & { timeMs: number; version: bigint }

/** Of several times apart, their events are aggregated together; only levels, which last, are added time by time. */
function aggregated(meter: Meter, { times, averagedOverMs }: LineUsage, kept: Kept[]): Quantity {
  kept.sort(byTimeAndKnown)
  const { aggregation, window, percentile } = meter
  const asked = { aggregation, window, percentile: parseQuantity(percentile ?? '50'), initial: ZERO, averagedOverMs }
  if (!readsFromBefore(meter)) return aggregate({ ...asked, period: undefined }, kept)
  return times.reduce((sum, period) => sum.plus(aggregate({ ...asked, period }, kept)), ZERO)
}

/** Those of the subjects that the meter counts, at any time. */
async function* countedEvents(
  reader: EventReader,
  tenantId: TenantId,
  meter: Meter,
  { subjects, times, knownBeforeMs }: LineUsage,
  after: Place | undefined,
): AsyncGenerator<CountedEvent, void, undefined> {
  const startMs = Math.min(...times.map((one) => one.startMs))
  const query: IdentityQuery = { subjects, knownBeforeMs, fromMs: readsFromBefore(meter) ? undefined : startMs }
  const counted = countedBy(meter, new Set(subjects))
  for (let behind = after; ; ) {
    const identities = await reader.identities(tenantId, query, behind, IDENTITIES_AT_ONCE)
    for (const identity of identities) {
      const event = counted(identity)
      if (event !== undefined) yield event
    }
    if (identities.length < IDENTITIES_AT_ONCE) return
    behind = identities.at(-1)
  }
}

/** A level lasts: what was before the period counts in it. */
function readsFromBefore({ aggregation }: Meter): boolean {
  return aggregation === 'time_weighted_sum'
}

async function knownMeter(reader: EventReader, tenantId: TenantId, slug: string): Promise<Meter> {
  const meter = await reader.meter(tenantId, slug)
  if (meter === undefined) throw new Problem('unavailable', `Meter ${slug} is not known to the usage store.`)
  return meter
}

/** As a line shows it. */
export function shownUsage({ quantity, events, digest }: MeteredUsage): {
  quantity: string
  events: number
  digest: string
} {
  return { quantity: formatQuantity(quantity), events, digest: digest.toString() }
}
