import { Problem } from '../../../schemas/http/problem.ts'
import { parsePath } from '../../../schemas/meter/path.ts'
import type { MeterInput } from '../../meters/meter.ts'

/** OpenMeter's names of aggregations, and ours. */
export const AGGREGATIONS = {
  SUM: 'sum',
  COUNT: 'count',
  UNIQUE_COUNT: 'unique_count',
  AVG: 'average',
  MIN: 'min',
  MAX: 'max',
  LATEST: 'latest',
} as const
export type OpenmeterAggregation = keyof typeof AGGREGATIONS

/** A meter as OpenMeter's clients create it. Paths are JSON paths of keys: `$.tokens.input`. */
export type MeterCreate = {
  slug: string
  name?: string
  description?: string
  metadata?: Record<string, string> | null
  eventType: string
  aggregation: OpenmeterAggregation
  valueProperty?: string
  groupBy?: Record<string, string>
}
/** `property` as it was given; `dimension` is the name that our meter has for it. */
export type OpenmeterGroup = { name: string; property: string; dimension: string }
export type OpenmeterMeter = {
  id: string
  slug: string
  /** The slug of our meter that counts for it. */
  meter: string
  name: string | null
  description: string | null
  metadata: Record<string, string> | null
  eventType: string
  aggregation: OpenmeterAggregation
  valueProperty: string | null
  groupBy: OpenmeterGroup[]
  createdAt: Date
}

/** Aggregations to which an event without the value would bring a 0 that nobody measured. */
const NEED_A_VALUE: readonly OpenmeterAggregation[] = ['UNIQUE_COUNT', 'AVG', 'MIN', 'MAX', 'LATEST']

/** Our meter that counts what theirs does. Throws Problem invalid_request. */
export function meterInput(meter: MeterCreate, groups: readonly OpenmeterGroup[]): MeterInput {
  const { eventType, aggregation, valueProperty } = meter
  // An absent value counts 0 with us, and not at all with OpenMeter: those events are left out.
  const path = aggregation === 'COUNT' ? undefined : valuePath(valueProperty)
  return {
    event_type: eventType,
    aggregation: AGGREGATIONS[aggregation],
    ...(path === undefined ? {} : { value: path }),
    ...(path !== undefined && NEED_A_VALUE.includes(aggregation) ? { filter: { exists: { path } } } : {}),
    group_by: [...new Set(groups.map(({ dimension }) => dimension))],
  }
}

export function groupsOf(groupBy: Readonly<Record<string, string>> = {}): OpenmeterGroup[] {
  return Object.entries(groupBy).map(([name, property]) => {
    if (!/^[A-Za-z0-9_]{1,64}$/.test(name) || name === 'subject')
      throw invalid(`groupBy.${name.slice(0, 64)}`, 'must be named by letters, digits and _, and not subject')
    return { name, property, dimension: parsePath(property, `groupBy.${name}`).join('.') }
  })
}

function valuePath(valueProperty: string | undefined): string {
  if (valueProperty === undefined) throw invalid('valueProperty', 'is missing; only COUNT does without')
  return parsePath(valueProperty, 'valueProperty').join('.')
}

export function meterAnswer(meter: OpenmeterMeter) {
  const { id, slug, name, description, metadata, eventType, aggregation, valueProperty, groupBy, createdAt } = meter
  return {
    ...{ id, slug, name: name ?? slug, aggregation, eventType },
    ...(description === null ? {} : { description }),
    ...(metadata === null ? {} : { metadata }),
    ...(valueProperty === null ? {} : { valueProperty }),
    ...(groupBy.length === 0
      ? {}
      : { groupBy: Object.fromEntries(groupBy.map((group) => [group.name, group.property])) }),
    createdAt: createdAt.toISOString(),
    updatedAt: createdAt.toISOString(),
  }
}

export function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `${path} ${message}.`, { errors: [{ path, message }] })
}

export function noMeter(idOrSlug: string): Problem {
  return new Problem('not_found', `There is no meter ${idOrSlug}`)
}
