import { decodeOperation, REPLACE_TYPE } from '../../../schemas/event/operation.ts'
import { SIGNED } from '../../../schemas/meter/aggregation.ts'
import { type Evaluate, evaluatorOf } from '../../../schemas/meter/evaluate.ts'
import { passes } from '../../../schemas/meter/filter.ts'
import { propertyAt } from '../../../schemas/meter/path.ts'
import { type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { Copy, Identity, Meter, MeterVersion } from './events.ts'

/** An event as a meter counts it. */
export type CountedEvent = {
  identity: Identity
  /** The payload that counts: of the last operation, else of the first copy. */
  effective: Copy
  quantity: Quantity
  /** Its data. */
  data: unknown
  /** What a meter of distinct values tells apart. */
  text: string | undefined
}
/** Half-open, at whole minutes; several where other plans lie between them. */
export type Times = readonly { startMs: number; endMs: number }[]

/**
 * Whether and how a meter counts an identity, a second time and apart from the statements that usage is read by: first
 * copy, then operations, version of the meter by the event's time, filter, value.
 */
export function countedBy(
  meter: Meter,
  subjects: ReadonlySet<string>,
): (identity: Identity) => CountedEvent | undefined {
  const signed = SIGNED.includes(meter.aggregation)
  const evaluators = new Map(meter.versions.map((version) => [version, quantityOf(meter, version, signed)]))
  return (identity) => {
    const effective = effectiveOf(identity)
    if (effective === undefined || !subjects.has(effective.subject)) return undefined
    const { type, timeMs, dataJson } = effective
    const version = meter.versions.find((one) => timeMs >= one.fromMs && timeMs < one.untilMs)
    if (version === undefined || version.eventType !== type) return undefined
    const data: unknown = JSON.parse(dataJson)
    if (!passes(version.filter, data)) return undefined
    // What is stored and is no quantity counts 0.
    const quantity = ZERO.plus(evaluators.get(version)?.(data) ?? ZERO)
    return { identity, effective, quantity, data, text: distinctText(version, data) }
  }
}

export function isWithin(times: Times, timeMs: number): boolean {
  return times.some(({ startMs, endMs }) => timeMs >= startMs && timeMs < endMs)
}

function quantityOf(meter: Meter, version: MeterVersion, signed: boolean): Evaluate {
  if (meter.aggregation === 'count' || meter.aggregation === 'unique_count') return () => 1
  return evaluatorOf(version.value, signed)
}

/** Undefined where it was voided. Copies of one operation are one, and the last one to become known decides. */
function effectiveOf({ first, operations }: Identity): Copy | undefined {
  const inOrder = [...operations].sort((a, b) => Number(b.version > a.version) - Number(b.version < a.version))
  const seen = new Set<string>()
  let effective: Copy | undefined = first
  if (first === undefined) return undefined
  for (const { type, dataJson } of inOrder) {
    const { operation, event } = decodeOperation(dataJson)
    if (seen.has(operation)) continue
    seen.add(operation)
    effective =
      type === REPLACE_TYPE && event
        ? { type: event.type, subject: event.subject, timeMs: Date.parse(event.time), dataJson: event.dataJson }
        : undefined
  }
  return effective
}

/** Texts, numbers and truth values are told apart; what is none of them is no value. */
function distinctText({ value: [[term]] }: MeterVersion, data: unknown): string | undefined {
  const [path] = term?.[1] ?? []
  const found = path === undefined ? undefined : propertyAt(data, path)
  return ['string', 'number', 'boolean'].includes(typeof found) ? String(found) : undefined
}
