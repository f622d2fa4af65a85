import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { formatQuantity, parseSum, type Quantity } from '../../schemas/quantity.ts'
import {
  type Counted,
  countingDetail,
  type EventDetail,
  type EventsAlike,
  propertiesOf,
  readingOfDetail,
} from './counted.ts'
import {
  minutesOf,
  mostCharacters,
  type Of,
  type Row,
  readRows,
  shardsOf,
  statementOf,
} from './event-rows.clickhouse.ts'
import { cutTime, type FullMinute, type PlacedSpan, within } from './time-slices.ts'
import { addUsage, type MeteredUsage, NO_USAGE, type UsageRequest } from './usage.ts'

/** A request that asks for more than a total, and what it came to as a total. */
export type Asked = {
  request: UsageRequest
  detail: EventDetail
  total: MeteredUsage
  /** Why it cannot be answered, if so. */
  refused?: string | undefined
}
/** Those that are read together: of one meter, and with the same properties to be read. */
type Batch = [Asked, ...Asked[]]

/** By number and as text, what one statement may name of subjects. */
const SPANS_PER_STATEMENT = 1_000
const BYTES_PER_STATEMENT = 64 * 1024
/** Where their order matters, so many are held at once; of more, slice of time by slice, so many in a minute. */
export const MOST_IN_ORDER = 100_000
/** Lists of properties that events share. */
const MOST_SHARED = 1_000

/**
 * The usage of requests that ask for single events, each with what these came to. Requests without events, as most, are
 * answered without looking. Where the total was read as of a moment that is over, the events must come to it.
 */
export async function readByEvent(
  store: ClickHouseStore,
  tenantId: TenantId,
  asOfMs: number,
  asked: readonly Asked[],
  mostInOrder = MOST_IN_ORDER,
): Promise<Map<string, MeteredUsage>> {
  const found = new Map<string, MeteredUsage>()
  const groups = new Map<string, Asked[]>()
  for (const one of asked) {
    const { request, detail, total, refused } = one
    if (refused !== undefined) found.set(request.key, { ...total, counted: { refused } })
    else if (total.events === 0) found.set(request.key, { ...total, counted: countingDetail(detail).counted() })
    else {
      const alike = JSON.stringify([request.meter, propertiesOf(detail).map(({ name }) => name), statementOf(detail)])
      const group = groups.get(alike)
      if (group) group.push(one)
      else groups.set(alike, [one])
    }
  }
  // One after the other: each may hold as many events as memory is meant for.
  for (const group of groups.values()) {
    for (const batch of batchesOf(group, mostInOrder)) {
      for (const [key, usage] of await readBatch(store, tenantId, asOfMs, batch, mostInOrder)) found.set(key, usage)
    }
  }
  return found
}

/** All at once where nothing but sums is held, else so many events. */
function batchesOf(group: readonly Asked[], mostInOrder: number): Batch[] {
  const batches: Batch[] = []
  let events = 0
  for (const one of group) {
    const last = batches.at(-1)
    const isHeld = statementOf(one.detail) === 'each'
    if (last !== undefined && (!isHeld || events + one.total.events <= mostInOrder)) {
      last.push(one)
      events += one.total.events
    } else {
      batches.push([one])
      events = one.total.events
    }
  }
  return batches
}

/** Whose events of which time are whose: an event is in one of them at most. */
function spansOf(batch: Batch): PlacedSpan[] {
  return batch.flatMap(({ request: { subjects, startMs, endMs, parts } }, place) =>
    [...new Set(subjects)].flatMap((subject) =>
      (parts ?? [{ startMs, endMs }]).map((span) => ({ place, subject, startMs: span.startMs, endMs: span.endMs })),
    ),
  )
}

/** As many in each as one statement may name. */
function spansPerStatement(spans: readonly PlacedSpan[]): PlacedSpan[][] {
  const statements: PlacedSpan[][] = []
  let bytes = 0
  for (const span of spans) {
    const size = 2 * Buffer.byteLength(span.subject) + 40
    const last = statements.at(-1)
    if (last !== undefined && last.length < SPANS_PER_STATEMENT && bytes + size <= BYTES_PER_STATEMENT) {
      last.push(span)
      bytes += size
    } else {
      statements.push([span])
      bytes = size
    }
  }
  return statements
}

/**
 * Where more is held than may be, slice of time by slice, each counted before the next is read. Those with events in a
 * shard that is too much for the store are refused, and whoever shares the statement with them.
 */
async function readBatch(
  store: ClickHouseStore,
  tenantId: TenantId,
  asOfMs: number,
  batch: Batch,
  mostInOrder: number,
): Promise<[string, MeteredUsage][]> {
  const [{ request, detail, total }] = batch
  const of = { tenantId, meter: request.meter, asOfMs }
  const asked = { detail, most: Math.max(...batch.map((one) => mostCharacters(one.detail))) }
  const counts = batch.map((one) => countEvents(one.detail))
  const refused = new Map<number, string>()
  const spans = spansOf(batch)
  const isSliced = statementOf(detail) === 'each' && total.events > mostInOrder
  const slices = isSliced ? await slicesOf(store, of, spans, mostInOrder) : { slices: [spans] }
  if ('refused' in slices) return [[request.key, { ...total, counted: slices }]]
  for (const slice of slices.slices) {
    for (const part of spansPerStatement(slice)) {
      for (const shards of await shardsOf(store, of, part)) {
        if (part.every(({ place }) => refused.has(place))) break
        const rows = await readRows(store, of, asked, part, shards)
        if ('refused' in rows) for (const { place } of part) refused.set(place, rows.refused)
        else for (const row of rows) counts[row.place]?.add(row)
      }
    }
    for (const count of counts) count.settle()
  }
  return batch.map((one, place) => {
    const why = refused.get(place)
    if (why !== undefined) return [one.request.key, { ...one.total, counted: { refused: why } }]
    return [one.request.key, confirmed(one, counts[place]?.usage() ?? NO_USAGE, asOfMs)]
  })
}

/** The same spans cut into slices of time, in order, with so many events at most in each. */
async function slicesOf(
  store: ClickHouseStore,
  of: Of,
  spans: readonly PlacedSpan[],
  most: number,
): Promise<{ slices: PlacedSpan[][] } | { refused: string }> {
  const byMinute = new Map<number, number>()
  for (const part of spansPerStatement(spans)) {
    for (const { startMs, events } of await minutesOf(store, of, part)) {
      // Subjects share their times: what lies between these is not theirs.
      const isAsked = part.some((span) => startMs >= span.startMs && startMs < span.endMs)
      if (isAsked) byMinute.set(startMs, events + (byMinute.get(startMs) ?? 0))
    }
  }
  const slices = cutTime(byMinute, most)
  if ('fullMs' in slices) return { refused: refusedMinute(of.meter, slices, most) }
  return { slices: slices.map((slice) => within(spans, slice)) }
}

function refusedMinute(meter: string, { fullMs, events }: FullMinute, most: number): string {
  return (
    `Its price needs the events of meter ${meter} in order, and ${events} of them are in one minute, that from ` +
    `${new Date(fullMs).toISOString()} on, above ${most}: void those that should not count, replace others by events of ` +
    'other minutes (POST /api/v1/events/replace), and bill it by another run; for later periods move it to a price without ' +
    'free events, and without free or included units beside amounts per event.'
  )
}

/** As of now more may have come in between: what the events come to is then the newer. */
function confirmed({ request, total }: Asked, usage: MeteredUsage, asOfMs: number): MeteredUsage {
  const shown = ({ quantity, events }: MeteredUsage) => `${events} events of ${formatQuantity(quantity)}`
  const isSame = shown(usage) === shown(total) && usage.digest === total.digest
  if (isSame || asOfMs >= KNOWN_UNTIL_NOW_MS) return usage
  const said = `${shown(usage)} instead of ${shown(total)}`
  return {
    ...total,
    counted: {
      refused: `The events of meter ${request.meter} do not come to its usage: ${said}. Run tallyline audit.`,
    },
  }
}

/** In the order of (time, known_at) where that matters: then they are held until all are there. */
function countEvents(detail: EventDetail): {
  add: (row: Row) => void
  /** What is held is counted: nothing that comes first comes behind it. */
  settle: () => void
  usage: () => MeteredUsage & { counted: Counted }
} {
  const propertiesIn = readProperties(propertiesOf(detail).map(({ name }) => name))
  const counting = countingDetail(detail)
  const inOrder = readingOfDetail(detail) === 'order'
  const held: { atMs: number; version: bigint; each: Quantity; properties: EventsAlike['properties'] }[] = []
  let total = NO_USAGE
  const settle = () => {
    // The higher its version the earlier an event became known.
    held.sort((a, b) => a.atMs - b.atMs || Number(b.version > a.version) - Number(b.version < a.version))
    for (const { each, properties } of held) counting.add({ each, quantity: each, events: 1, properties })
    held.length = 0
  }
  return {
    settle,
    add: (row) => {
      const [each, quantity, events] = [parseSum(row.each_text), parseSum(row.quantity_text), Number(row.events_text)]
      total = addUsage(total, { quantity, events, digest: BigInt(row.digest_text) })
      const properties = propertiesIn(row.found)
      if (!inOrder) counting.add({ each, quantity, events, properties })
      else held.push({ atMs: Number(row.at_text), version: BigInt(row.version_text), each, properties })
    },
    usage: () => {
      settle()
      return { ...total, counted: counting.counted() }
    },
  }
}

/** Events with the same properties share them: there may be very many. */
function readProperties(names: readonly string[]): (found: readonly string[]) => EventsAlike['properties'] {
  const known = new Map<string, EventsAlike['properties']>()
  return (found) => {
    const key = JSON.stringify(found)
    const before = known.get(key)
    if (before !== undefined) return before
    const properties = Object.fromEntries(names.map((name, place) => [name, propertyOf(found[place] ?? '')]))
    if (known.size < MOST_SHARED) known.set(key, properties)
    return properties
  }
}

/** What stood there, as JSON; nothing, or what is none, is no value. */
function propertyOf(json: string): unknown {
  if (json === '') return undefined
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}
