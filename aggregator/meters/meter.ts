import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'

export type Aggregation = 'sum' | 'count'

/** A meter as users define it, with its paths parsed: each is the list of keys to follow inside an event's data. */
export type MeterDefinition = {
  slug: string
  eventType: string
  aggregation: Aggregation
  /** Empty for count. */
  valuePath: string[]
  groupBy: { name: string; path: string[] }[]
}
export type Meter = MeterDefinition & { revision: number }
export type MeterInput = { event_type: string; aggregation: Aggregation; value?: string; group_by?: string[] }
export type MeterOf = { tenant: TenantId; meter: Meter }

const MAX_GROUPS = 5
const MAX_DEPTH = 8
const KEY = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/

/** Parses a meter; throws invalid_request naming the member at fault. */
export function defineMeter(slug: string, input: MeterInput): MeterDefinition {
  if (!/^[a-z0-9][a-z0-9_-]{0,62}$/.test(slug))
    throw invalid('slug', 'use lower-case letters, digits, - and _, at most 63')
  if (input.aggregation === 'sum' && input.value === undefined)
    throw invalid('value', 'a sum needs the path of its value')
  if (input.aggregation === 'count' && input.value !== undefined) throw invalid('value', 'a count has no value')
  const groups = input.group_by ?? []
  if (groups.length > MAX_GROUPS) throw invalid('group_by', `at most ${MAX_GROUPS} dimensions`)
  const groupBy = groups.map((text, index) => {
    const path = parsePath(text, `group_by.${index}`)
    return { name: path.join('.'), path }
  })
  if (new Set(groupBy.map((group) => group.name)).size < groupBy.length)
    throw invalid('group_by', 'a dimension stands twice')
  return {
    slug,
    eventType: input.event_type,
    aggregation: input.aggregation,
    valuePath: input.value === undefined ? [] : parsePath(input.value, 'value'),
    groupBy,
  }
}

/** `tokens.input` and `$.tokens.input` are the keys tokens, input inside `data`. */
export function parsePath(text: string, member: string): string[] {
  const keys = text.replace(/^\$\./, '').split('.')
  if (keys.length > MAX_DEPTH) throw invalid(member, `at most ${MAX_DEPTH} keys deep`)
  for (const key of keys) {
    if (!KEY.test(key))
      throw invalid(member, `"${text}" is no dotted path inside data: keys are letters, digits, _ and -`)
  }
  return keys
}

/** Whether two definitions mean the same. */
export function sameDefinition(a: MeterDefinition, b: MeterDefinition): boolean {
  const essence = ({ eventType, aggregation, valuePath, groupBy }: MeterDefinition) =>
    JSON.stringify([eventType, aggregation, valuePath, groupBy.map((group) => group.path)])
  return essence(a) === essence(b)
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `The meter is not valid: ${path}: ${message}`, { errors: [{ path, message }] })
}
