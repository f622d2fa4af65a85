import { type Quantity, tryQuantityFromJson, ZERO } from '../../schemas/quantity.ts'
import { isObject, type JsonValue } from '../event-types/json.ts'

/**
 * The quantity at a path of an event's data, as ClickHouse reads it later: absent or null counts 0. Undefined if what
 * stands there is no decimal within Decimal(38,12), or negative.
 */
export function readMeterValue(data: JsonValue, path: readonly string[]): Quantity | undefined {
  let value: JsonValue | undefined = data
  for (const key of path) value = isObject(value) && Object.hasOwn(value, key) ? (value[key] as JsonValue) : undefined
  if (value === undefined || value === null) return ZERO
  const quantity = tryQuantityFromJson(value)
  return quantity === undefined || quantity.isNegative() ? undefined : quantity
}
