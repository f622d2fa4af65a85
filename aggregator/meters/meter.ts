import type { TenantId } from '../../schemas/http/door.ts'
import { type Aggregation, type MeterWindow, WINDOWED } from '../../schemas/meter/aggregation.ts'
import { plainPathOf } from '../../schemas/meter/evaluate.ts'
import { parseValue } from '../../schemas/meter/expression.ts'
import { type FilterForm, type FilterInput, filterFormOf } from '../../schemas/meter/filter.ts'
import { invalidMeter, parsePath } from '../../schemas/meter/path.ts'
import type { ValueForm } from '../../schemas/meter/polynomial.ts'

/** What may differ between the versions of a meter. */
export type Measure = {
  eventType: string
  /** The expression as its author wrote it; a plain path is its keys with dots between. Undefined for count. */
  value: string | undefined
  valueForm: ValueForm
  filter: FilterInput | undefined
  filterForm: FilterForm
}
export type MeterVersion = Measure & { version: number; effectiveFromMs: number; revision: number }

/** A meter as users define it, with its texts parsed. */
export type MeterDefinition = Measure & {
  slug: string
  aggregation: Aggregation
  /** The keys to follow inside an event's data, where the value is one property; else empty. */
  valuePath: string[]
  groupBy: { name: string; path: string[] }[]
  window: MeterWindow | undefined
  /** 0 to 100, as decimal text. */
  percentile: string | undefined
}
/** The newest version, with all of them, the oldest first. */
export type Meter = MeterDefinition & { revision: number; versions: MeterVersion[]; archived: boolean }

export type MeterInput = {
  event_type: string
  aggregation: Aggregation
  value?: string
  filter?: FilterInput
  group_by?: string[]
  window?: MeterWindow
  percentile?: string
  effective_from?: string
}
export type MeterOf = { tenant: TenantId; meter: Meter }

const MAX_GROUPS = 5
const PERCENTILE = /^(?:100|\d{1,2}(?:\.\d{1,4})?)$/
const NOTHING: ValueForm = [[], []]

/** Parses a meter; throws invalid_request naming the member at fault. */
export function defineMeter(slug: string, input: MeterInput): MeterDefinition {
  if (!/^[a-z0-9][a-z0-9_-]{0,62}$/.test(slug))
    throw invalidMeter('slug', 'use lower-case letters, digits, - and _, at most 63')
  const { aggregation, percentile, window } = input
  if (aggregation !== 'count' && input.value === undefined)
    throw invalidMeter('value', `a ${aggregation} needs a value: a path, or an expression over paths`)
  if (aggregation === 'count' && input.value !== undefined) throw invalidMeter('value', 'a count has no value')
  if (window !== undefined && !WINDOWED.includes(aggregation))
    throw invalidMeter('window', `only ${WINDOWED.join(' and ')} can be taken per hour or day and then summed`)
  if ((aggregation === 'percentile') !== (percentile !== undefined))
    throw invalidMeter(
      'percentile',
      percentile === undefined ? 'is missing: which one, such as "95"' : 'belongs to percentile',
    )
  if (percentile !== undefined && !(PERCENTILE.test(percentile) && Number(percentile) > 0))
    throw invalidMeter('percentile', 'is a decimal text above 0, at most 100, with at most 4 places')
  const valueForm = input.value === undefined ? NOTHING : parseValue(input.value)
  const path = plainPathOf(valueForm)
  if (aggregation === 'unique_count' && !path)
    throw invalidMeter('value', 'of a unique_count is one path: its values are told apart as texts')
  return {
    slug,
    eventType: input.event_type,
    aggregation,
    value: path ? path.join('.') : input.value?.trim(),
    valuePath: path ? [...path] : [],
    valueForm,
    filter: input.filter,
    filterForm: filterFormOf(input.filter),
    groupBy: parseGroups(input.group_by ?? []),
    window,
    percentile: percentile === undefined ? undefined : String(Number(percentile)),
  }
}

function parseGroups(texts: readonly string[]): { name: string; path: string[] }[] {
  if (texts.length > MAX_GROUPS) throw invalidMeter('group_by', `at most ${MAX_GROUPS} dimensions`)
  const groups = texts.map((text, index) => {
    const path = parsePath(text, `group_by.${index}`)
    return { name: path.join('.'), path }
  })
  if (new Set(groups.map((group) => group.name)).size < groups.length)
    throw invalidMeter('group_by', 'a dimension stands twice')
  return groups
}

/** Whether two measures mean the same. */
export function sameMeasure(a: Measure, b: Measure): boolean {
  const essence = ({ eventType, valueForm, filterForm }: Measure) => JSON.stringify([eventType, valueForm, filterForm])
  return essence(a) === essence(b)
}

/** The member in which versions of one meter would differ though they may not; undefined if there is none. */
export function fixedMemberChanged(a: MeterDefinition, b: MeterDefinition): string | undefined {
  const groups = ({ groupBy }: MeterDefinition) => JSON.stringify(groupBy.map((group) => group.path))
  if (a.aggregation !== b.aggregation) return 'aggregation'
  if (a.window !== b.window) return 'window'
  if (a.percentile !== b.percentile) return 'percentile'
  return groups(a) === groups(b) ? undefined : 'group_by'
}

/** Whether two definitions mean the same. */
export function sameDefinition(a: MeterDefinition, b: MeterDefinition): boolean {
  return sameMeasure(a, b) && fixedMemberChanged(a, b) === undefined
}
