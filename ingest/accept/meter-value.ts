import { type Aggregation, SIGNED } from '../../schemas/meter/aggregation.ts'
import {
  type Evaluate,
  evaluatorOf,
  faultyPath,
  type MeterValue,
  numberAt,
  plainPathOf,
} from '../../schemas/meter/evaluate.ts'
import { parseValue } from '../../schemas/meter/expression.ts'
import { type FilterForm, filterFormOf, passes } from '../../schemas/meter/filter.ts'
import type { Path } from '../../schemas/meter/path.ts'
import type { ValueForm } from '../../schemas/meter/polynomial.ts'
import type { MeterRow } from './config.postgres.ts'

/** A version of a meter, ready to be asked. What is absent needs no look: nearly every meter is a slug and a path. */
export type EdgeMeter = {
  slug: string
  eventType: string
  aggregation: Aggregation
  /** Where the value lies, if it is one property; else empty. */
  valuePath: Path
  /** How it is computed otherwise, and from what. */
  evaluate?: Evaluate
  form?: ValueForm
  filter?: FilterForm
  /** The times of the events that it counts, half-open. */
  times?: { fromMs: number; untilMs: number }
}

/** Texts that the aggregator checked before it stored them. */
export function edgeMeterOf({ slug, eventType, aggregation, value, filter, fromMs, untilMs }: MeterRow): EdgeMeter {
  const form = value === null ? undefined : parseValue(value)
  const path = form && plainPathOf(form)
  const clauses = filterFormOf(filter ?? undefined)
  return {
    ...{ slug, eventType, aggregation, valuePath: path ?? [] },
    ...(form && !path ? { evaluate: evaluatorOf(form, SIGNED.includes(aggregation)), form } : {}),
    ...(clauses.length > 0 ? { filter: clauses } : {}),
    ...(fromMs > 0 || untilMs !== null ? { times: { fromMs, untilMs: untilMs ?? Number.POSITIVE_INFINITY } } : {}),
  }
}

/** Whether a meter counts an event of its type. */
export function counts({ filter, times }: EdgeMeter, data: unknown, timeMs: number): boolean {
  if (times && !(timeMs >= times.fromMs && timeMs < times.untilMs)) return false
  return filter === undefined || passes(filter, data)
}

/** What an event adds to a meter; undefined if that is no quantity. What unique_count tells apart are texts of any kind. */
export function quantityOf(meter: EdgeMeter, data: unknown): MeterValue | undefined {
  if (meter.aggregation === 'count' || meter.aggregation === 'unique_count') return 1
  return meter.evaluate ? meter.evaluate(data) : numberAt(data, meter.valuePath, SIGNED.includes(meter.aggregation))
}

/** Where an event lacks the quantity that a meter needs; the data as a whole if only the result is none. */
export function faultOf({ valuePath, form, aggregation }: EdgeMeter, data: unknown): string {
  const path = form ? (faultyPath(form, data, SIGNED.includes(aggregation)) ?? []) : valuePath
  return ['data', ...path].join('.')
}
