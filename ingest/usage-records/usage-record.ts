import { Problem } from '../../schemas/http/problem.ts'
import { isQuantityText, parseQuantity, tryQuantityFromJson } from '../../schemas/quantity.ts'
import type { TenantConfig } from '../accept/config.ts'
import type { EdgeMeter } from '../accept/meter-value.ts'
import type { EventType } from '../event-types/avro-schema.ts'
import { isObject, plainNumber } from '../event-types/json.ts'

/** Usage as billing systems send it: so much on a meter, or the data of an event type. */
export type UsageRecord = {
  meter?: string
  quantity?: number | string
  metadata?: Record<string, unknown>
  type?: string
  data?: Record<string, unknown>
}

/** The event type and data that a record of a time stands for. Throws Problem invalid_request naming the member at fault. */
export function eventOfRecord(
  config: TenantConfig,
  record: UsageRecord,
  atMs: number,
): { type: string; data: Record<string, unknown> } {
  const { meter: slug, type, data, quantity, metadata } = record
  if (slug === undefined) {
    if (type === undefined) throw invalid('meter', 'is missing; give a meter, or type and data')
    if (quantity !== undefined || metadata !== undefined)
      throw invalid('meter', 'is missing; quantity and metadata need one')
    return { type, data: data ?? {} }
  }
  if (data !== undefined) throw invalid('data', 'cannot stand beside meter; send quantity and metadata')
  const meter = findMeter(config, slug, atMs)
  if (!meter) throw new Problem('not_found', `There is no meter ${slug}`)
  if (type !== undefined && type !== meter.eventType) throw invalid('type', `of meter ${slug} is ${meter.eventType}`)
  return { type: meter.eventType, data: dataOf(config, meter, quantity, metadata ?? {}) }
}

/** The version of a meter that counts events of that time. */
export function findMeter({ metersOfType }: TenantConfig, slug: string, atMs: number): EdgeMeter | undefined {
  const isInForce = ({ times }: EdgeMeter) => !times || (times.fromMs <= atMs && atMs < times.untilMs)
  for (const meters of metersOfType.values()) {
    const found = meters.find((meter) => meter.slug === slug && isInForce(meter))
    if (found) return found
  }
  return undefined
}

function dataOf(
  config: TenantConfig,
  meter: EdgeMeter,
  quantity: number | string | undefined,
  metadata: Record<string, unknown>,
): Record<string, unknown> {
  const { slug } = meter
  if (meter.aggregation === 'count') {
    if (quantity !== undefined && Number(quantity) !== 1)
      throw invalid('quantity', `must be 1 or left out: meter ${slug} counts events`)
    return metadata
  }
  const path = plainPath(meter)
  if (!path)
    throw invalid(
      'meter',
      `cannot be ${slug}: only a sum of one property says where a quantity goes; send type and data`,
    )
  if (quantity === undefined) throw invalid('quantity', 'is missing')
  const type = config.types.get(meter.eventType)
  const forms = formsOf(quantity).map((form) => withValue(metadata, path, form))
  // The schema says whether it wants a number or decimal text; if it takes neither, it will say so of what was sent.
  return forms.find((data) => takes(type, data, path)) ?? withValue(metadata, path, quantity)
}

/** Whether the schema finds no fault with what lies there; one elsewhere is not that of its form. */
function takes(type: EventType | undefined, data: Record<string, unknown>, path: readonly string[]): boolean {
  const checked = type?.validate(data)
  return checked !== undefined && (checked.ok || checked.path !== ['data', ...path].join('.'))
}

/** Where the quantity of a sum lies; undefined where it is computed from more than one property. */
function plainPath({ aggregation, valuePath }: EdgeMeter): readonly string[] | undefined {
  return aggregation === 'sum' && valuePath.length > 0 ? valuePath : undefined
}

function formsOf(quantity: number | string): (number | string)[] {
  if (typeof quantity === 'number') return [quantity, plainNumber(quantity)]
  const number = Number(quantity)
  const exact = isQuantityText(quantity) && tryQuantityFromJson(number)?.equals(parseQuantity(quantity))
  return exact ? [quantity, number] : [quantity]
}

function withValue(data: Record<string, unknown>, path: readonly string[], value: unknown): Record<string, unknown> {
  const [key = '', ...below] = path
  if (below.length === 0) return { ...data, [key]: value }
  const inner = Object.hasOwn(data, key) ? data[key] : undefined
  return { ...data, [key]: withValue(isObject(inner) ? inner : {}, below, value) }
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `${path} ${message}.`, { errors: [{ path, message }] })
}
