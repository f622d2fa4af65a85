import { type Located, locate } from '../../schemas/event/identity.ts'
import { encodeEvent } from '../../schemas/event/usage-event.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { SIGNED } from '../../schemas/meter/aggregation.ts'
import { BACKFILL_SOURCE_PREFIX } from '../backfills/backfill.ts'
import type { JsonObject } from '../event-types/json.ts'
import { toMicro } from '../quota/limit.ts'
import { addLimit, type LimitDraw, limitAt } from '../quota/limit-draws.ts'
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
  draws: readonly LimitDraw[]
  /** What it draws from first. */
  hold?: string | undefined
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
const NO_DRAWS: readonly LimitDraw[] = []

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
    const draws = drawsOf(options, event, checked.value)
    if ('outcome' in draws) return draws
    const { key: identity, shard, partition } = located
    const data = checked.json
    const encoded = encodeEvent({ tenant, source, id, shard, type: event.type, subject, timeMs, timeGiven, data })
    return { id, type: event.type, subject, identity, partition, encoded, draws, hold: event.hold }
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

/** On every limit of the subject. Every meter of the type must be able to count the event, also one without a limit. */
function drawsOf(
  { tenant, config, nowMs }: PrepareOptions,
  event: CloudEvent,
  data: JsonObject,
): readonly LimitDraw[] | Rejected {
  const meters = config.metersOfType.get(event.type)
  if (!meters) return NO_DRAWS
  const limits = config.limitsOf(event.subject)
  const draws: LimitDraw[] = []
  for (const meter of meters) {
    if (!counts(meter, data, event.timeMs)) continue
    const quantity = quantityOf(meter, data)
    if (quantity === undefined) return noQuantity(event, meter, data)
    for (const limit of limits)
      if (limit.meter === meter.slug) addLimit(draws, limitAt(tenant, limit, event.timeMs, nowMs), toMicro(quantity))
  }
  return draws
}

function noQuantity({ id }: CloudEvent, meter: EdgeMeter, data: JsonObject): Rejected {
  const sign = SIGNED.includes(meter.aggregation) ? '' : 'not negative, '
  const message = `Meter ${meter.slug} needs a decimal here: ${sign}at most 26 digits before and 12 after the point`
  return rejected(id, 'invalid_quantity', faultOf(meter, data), message)
}

/** A time inside an id chooses its shard: one far from now would touch shards that are long closed. */
export function checkIdTime({ timeMs }: Located, nowMs: number): string | undefined {
  if (timeMs === undefined) return undefined
  if (timeMs > nowMs + DAY_MS) return 'The time in the id lies more than a day ahead'
  if (timeMs < nowMs - ID_RETENTION_MS) return 'The time in the id is older than events are kept'
  return undefined
}
