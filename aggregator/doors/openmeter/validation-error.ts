import { isQuantityText, tryQuantityFromJson } from '../../../schemas/quantity.ts'
import type { OpenmeterMeter } from './meter.ts'

/**
 * What OpenMeter would find wrong with an event, in its words: a meter of its type does not find its value in it.
 * Undefined where nothing is. Only events older than their meter can hold a value that is no quantity.
 */
export function validationError(type: string, data: string, meters: readonly OpenmeterMeter[]): string | undefined {
  const wanted = meters.filter((meter) => meter.eventType === type && meter.aggregation !== 'COUNT')
  if (wanted.length === 0) return undefined
  const parsed: unknown = JSON.parse(data)
  const errors = wanted.flatMap((meter) => errorOf(parsed, meter) ?? [])
  return errors.length === 0 ? undefined : [...new Set(errors)].join('\n')
}

function errorOf(data: unknown, { valueProperty, aggregation }: OpenmeterMeter): string | undefined {
  const path = (valueProperty ?? '').replace(/^\$\./, '').split('.')
  const value = path.reduce(memberOf, data)
  if (value === undefined) return `invalid event: missing value property: "${valueProperty}"`
  if (value === null) return 'invalid event: value cannot be null'
  if (aggregation === 'UNIQUE_COUNT') return undefined
  if (typeof value !== 'string' && typeof value !== 'number')
    return `invalid event: unsupported value property type: ${Array.isArray(value) ? 'array' : typeof value}`
  const isQuantity = typeof value === 'string' ? isQuantityText(value) : tryQuantityFromJson(value) !== undefined
  return isQuantity ? undefined : `invalid event: value cannot be parsed: ${String(value).slice(0, 100)}`
}

function memberOf(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined
}
