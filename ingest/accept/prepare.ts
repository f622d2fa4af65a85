import { type Located, locate } from '../../schemas/event/identity.ts'
import { encodeEvent } from '../../schemas/event/usage-event.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { BACKFILL_SOURCE_PREFIX } from '../backfills/backfill.ts'
import type { JsonObject } from '../event-types/json.ts'
import { type QuotaLimit, toMicro, windowOf } from '../quota/limit.ts'
import type { CounterKey, QuotaDraw } from '../quota/quota-store.ts'
import { type CloudEvent, readCloudEvent } from './cloud-event.ts'
import type { TenantConfig } from './config.ts'
import { counts, type EdgeMeter, faultOf, quantityOf } from './meter-value.ts'
import type { Outcome } from './outcome.ts'

/** An event that may be appended: checked, encoded, with what it draws on. */
export type Prepared = {
  id: string
  type: string
  subject: string
  identity: string
  partition: number
  encoded: Buffer
  draws: readonly QuotaDraw[]
}
export type Rejected = Extract<Outcome, { outcome: 'rejected' }>

/** What is the same for all events of a request. */
export type PrepareOptions = {
  tenant: TenantId
  config: TenantConfig
  nowMs: number
  /** The credential has billing:usage:backfill. */
  mayBackfill: boolean
  partitions: number
  /** The events may be of a backfill, whose sources are nobody else's. */
  ofBackfill?: boolean
}

const DAY_MS = 86_400_000
const ID_RETENTION_MS = 7 * 366 * DAY_MS
const NO_DRAWS: readonly QuotaDraw[] = []

/** Checks events one by one and encodes them. Draws on the same counter share its key, so that it is looked up once. */
export function createPrepare(options: PrepareOptions): (raw: unknown) => Prepared | Rejected {
  const { tenant, config, nowMs, partitions } = options
  return (raw) => {
    const read = readCloudEvent(raw, nowMs, options)
    if (!read.ok) return rejected(read.id, read.code, read.path, read.message)
    const { event } = read
    const { id, source, subject, timeMs, timeGiven } = event
    if (source.startsWith(BACKFILL_SOURCE_PREFIX) && !options.ofBackfill) return reservedSource(id)
    const located = locate({ tenant, source, id }, partitions)
    const wrongTime = checkIdTime(located, nowMs)
    if (wrongTime) return rejected(id, 'id_time', 'id', wrongTime)
    const type = config.types.get(event.type)
    if (!type) return unknownType(event)
    const checked = type.validate(event.data)
    if (!checked.ok) return rejected(id, checked.code, checked.path, checked.message)
    const draws = drawsOf(tenant, event, checked.value, config)
    if ('outcome' in draws) return draws
    const { key: identity, shard, partition } = located
    const data = checked.json
    const encoded = encodeEvent({ tenant, source, id, shard, type: event.type, subject, timeMs, timeGiven, data })
    return { id, type: event.type, subject, identity, partition, encoded, draws }
  }
}

function rejected(id: string | undefined, code: string, path: string, message: string): Rejected {
  return { outcome: 'rejected', ...(id === undefined ? {} : { id }), code, path, message }
}

function reservedSource(id: string): Rejected {
  const message = `must not begin with ${BACKFILL_SOURCE_PREFIX}: such events come through /api/v1/backfills`
  return rejected(id, 'reserved_source', 'source', message)
}

function unknownType({ id, type }: CloudEvent): Rejected {
  const message = `Register the schema of ${type} first: PUT /api/v1/event-types/${type}`
  return rejected(id, 'unknown_type', 'type', message)
}

/** Every meter of the type must be able to count the event, also one without a limit. */
function drawsOf(
  tenant: TenantId,
  event: CloudEvent,
  data: JsonObject,
  config: TenantConfig,
): readonly QuotaDraw[] | Rejected {
  const meters = config.metersOfType.get(event.type)
  if (!meters) return NO_DRAWS
  const limits = config.limitsOfSubject.get(event.subject)
  const draws: QuotaDraw[] = []
  for (const meter of meters) {
    if (!counts(meter, data, event.timeMs)) continue
    const quantity = quantityOf(meter, data)
    if (quantity === undefined) return noQuantity(event, meter, data)
    const limit = limits?.find((one) => one.meter === meter.slug)
    if (!limit) continue
    draws.push({ counter: counterOf(tenant, event, limit), micro: toMicro(quantity), limitMicro: limit.limitMicro })
  }
  return draws
}

function noQuantity({ id }: CloudEvent, meter: EdgeMeter, data: JsonObject): Rejected {
  const message = `Meter ${meter.slug} needs a decimal here: not negative, at most 26 digits before and 12 after the point`
  return rejected(id, 'invalid_quantity', faultOf(meter, data), message)
}

/** A limit is of one subject, and of one reading of the configuration: requests share its latest counter's key. */
const latestCounters = new WeakMap<QuotaLimit, CounterKey>()

/** The key of the counter that a limit has at an event's time: the same object while the times lie in one window. */
function counterOf(tenant: TenantId, { subject, timeMs }: CloudEvent, limit: QuotaLimit): CounterKey {
  const known = latestCounters.get(limit)
  const isOfBoth = known?.subject === subject && known.tenant === tenant
  if (isOfBoth && known.startMs <= timeMs && timeMs < known.endMs) return known
  const counter = { tenant, subject, meter: limit.meter, ...windowOf(timeMs, limit.period) }
  latestCounters.set(limit, counter)
  return counter
}

/** A time inside an id chooses its shard: one far from now would touch shards that are long closed. */
export function checkIdTime({ timeMs }: Located, nowMs: number): string | undefined {
  if (timeMs === undefined) return undefined
  if (timeMs > nowMs + DAY_MS) return 'The time in the id lies more than a day ahead'
  if (timeMs < nowMs - ID_RETENTION_MS) return 'The time in the id is older than events are kept'
  return undefined
}
