import { identityKey, idTimeMs, partitionOf, shardOf } from '../../schemas/event/identity.ts'
import { encodeEvent } from '../../schemas/event/usage-batch.avro.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { parseQuantity, type Quantity } from '../../schemas/quantity.ts'
import type { JsonValue } from '../event-types/json.ts'
import { toMicro, windowOf } from '../quota/limit.ts'
import type { QuotaDraw } from '../quota/quota-store.ts'
import { type CloudEvent, readCloudEvent } from './cloud-event.ts'
import type { MeterRow } from './config.postgres.ts'
import { limitKey, type TenantConfig } from './config.ts'
import { readMeterValue } from './meter-value.ts'
import type { Outcome } from './outcome.ts'

/** An event that may be appended: checked, encoded, with what it draws on. */
export type Prepared = {
  id: string
  type: string
  subject: string
  identity: string
  partition: number
  encoded: Buffer
  draws: QuotaDraw[]
}
export type Rejected = Extract<Outcome, { outcome: 'rejected' }>

const DAY_MS = 86_400_000
const ID_RETENTION_MS = 7 * 366 * DAY_MS
const ONE = parseQuantity('1')

/** Checks one event and encodes it. Pure: time, permission and configuration are arguments. */
export function prepareEvent(
  raw: unknown,
  tenant: TenantId,
  config: TenantConfig,
  nowMs: number,
  mayBackfill: boolean,
  partitions: number,
): Prepared | Rejected {
  const read = readCloudEvent(raw, nowMs, { mayBackfill })
  if (!read.ok) return { outcome: 'rejected', ...(read.id === undefined ? {} : { id: read.id }), ...refusal(read) }
  const { event } = read
  const reject = (code: string, path: string, message: string): Rejected => ({
    outcome: 'rejected',
    id: event.id,
    code,
    path,
    message,
  })
  const wrongTime = checkIdTime(event.id, nowMs)
  if (wrongTime) return reject('id_time', 'id', wrongTime)
  const type = config.types.get(event.type)
  if (!type)
    return reject(
      'unknown_type',
      'type',
      `Register the schema of ${event.type} first: PUT /api/v1/event-types/${event.type}`,
    )
  const checked = type.validate(event.data)
  if (!checked.ok) return reject(checked.code, checked.path, checked.message)
  const draws: QuotaDraw[] = []
  for (const meter of config.metersOfType.get(event.type) ?? []) {
    const quantity = quantityOf(meter, checked.value)
    if (quantity === undefined) {
      const path = `data.${meter.valuePath.join('.')}`
      return reject(
        'invalid_quantity',
        path,
        `Meter ${meter.slug} needs a decimal here: not negative, at most 26 digits before and 12 after the point`,
      )
    }
    const draw = drawOf(tenant, event, meter, quantity, config)
    if (draw) draws.push(draw)
  }
  return { ...encodeFor(tenant, event, checked.json, partitions), draws }
}

function refusal({ code, path, message }: { code: string; path: string; message: string }) {
  return { code, path, message }
}

function quantityOf(meter: MeterRow, value: JsonValue): Quantity | undefined {
  return meter.aggregation === 'count' ? ONE : readMeterValue(value, meter.valuePath)
}

function drawOf(
  tenant: TenantId,
  event: CloudEvent,
  meter: MeterRow,
  quantity: Quantity,
  config: TenantConfig,
): QuotaDraw | undefined {
  const limit = config.limits.get(limitKey(event.subject, meter.slug))
  if (!limit) return undefined
  const counter = { tenant, subject: event.subject, meter: meter.slug, ...windowOf(event.timeMs, limit.period) }
  return { counter, micro: toMicro(quantity), limitMicro: limit.limitMicro }
}

function encodeFor(tenant: TenantId, event: CloudEvent, data: string, partitions: number): Omit<Prepared, 'draws'> {
  const { source, id, type, subject, timeMs, timeGiven } = event
  const identity = { tenant, source, id }
  return {
    id,
    type,
    subject,
    identity: identityKey(identity),
    partition: partitionOf(identity, partitions),
    encoded: encodeEvent({ ...identity, shard: shardOf(identity), type, subject, timeMs, timeGiven, data }),
  }
}

/** A time inside an id chooses its shard: one far from now would touch shards that are long closed. */
function checkIdTime(id: string, nowMs: number): string | undefined {
  const timeMs = idTimeMs(id)
  if (timeMs === undefined) return undefined
  if (timeMs > nowMs + DAY_MS) return 'The time in the id lies more than a day ahead'
  if (timeMs < nowMs - ID_RETENTION_MS) return 'The time in the id is older than events are kept'
  return undefined
}
