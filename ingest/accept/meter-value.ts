import { type Quantity, tryQuantityFromJson } from '../../schemas/quantity.ts'
import { isObject, type JsonValue } from '../event-types/json.ts'

/** A quantity that is not negative: whole ones below 10^15, which nearly all are, as a plain number. */
export type MeterValue = number | Quantity

/**
 * The quantity at a path of an event's data, as ClickHouse reads it later: absent or null counts 0. Undefined if what
 * stands there is no decimal within Decimal(38,12), or negative.
 */
export function readMeterValue(data: JsonValue, path: readonly string[]): MeterValue | undefined {
  let value: JsonValue | undefined = data
  for (const key of path) value = isObject(value) && Object.hasOwn(value, key) ? (value[key] as JsonValue) : undefined
  if (value === undefined || value === null) return 0
  if (typeof value === 'number' && Number.isInteger(value) && value < 1e15) {
    return value < 0 || Object.is(value, -0) ? undefined : value
  }
  const quantity = tryQuantityFromJson(value)
  return quantity === undefined || quantity.isNegative() ? undefined : quantity
}
