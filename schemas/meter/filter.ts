import { formatQuantity, isQuantityText, parseQuantity, tryQuantityFromJson } from '../quantity.ts'
import { numberOf } from './evaluate.ts'
import { invalidMeter, type Path, parsePath, propertyAt } from './path.ts'

const COMPARISONS = ['lt', 'lte', 'gt', 'gte'] as const
export type Comparison = (typeof COMPARISONS)[number]
/** `in`: the property's text is one of the values. A comparison has one value, a decimal. */
export type Condition = readonly [
  path: Path,
  op: 'in' | 'exists' | Comparison,
  values: readonly string[],
  negated: 0 | 1,
]
/** Some clause holds, all of its conditions do. Without clauses, everything counts. */
export type FilterForm = readonly (readonly Condition[])[]

/** As users write it. */
export type FilterInput =
  | { equals: { path: string; value: string | number | boolean } }
  | { in: { path: string; values: (string | number | boolean)[] } }
  | { exists: { path: string } }
  | { compare: { path: string; op: Comparison; value: string | number } }
  | { and: FilterInput[] }
  | { or: FilterInput[] }
  | { not: FilterInput }

const MAX_CLAUSES = 64
const MAX_CONDITIONS = 16
const MAX_VALUES = 100
const MAX_TEXT = 256
const MAX_NESTING = 16

/** Parses a filter to its normal form. Throws Problem invalid_request that names the member at fault. */
export function filterFormOf(input: unknown): FilterForm {
  return input === undefined ? [] : read(input, 'filter', 0, 0)
}

/** Whether an event's data passes. */
export function passes(filter: FilterForm, data: unknown): boolean {
  return filter.length === 0 || filter.some((clause) => clause.every((condition) => holds(condition, data)))
}

function holds([path, op, values, negated]: Condition, data: unknown): boolean {
  return meets(propertyAt(data, path), op, values) !== (negated === 1)
}

function meets(value: unknown, op: Condition[1], values: readonly string[]): boolean {
  if (op === 'exists') return value !== undefined && value !== null
  if (op === 'in') {
    const text = textOf(value)
    return text !== undefined && values.includes(text)
  }
  // A whole number of 16 digits is exact, and is compared as ClickHouse does.
  const decimal = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : numberOf(value)
  if (decimal === undefined) return false
  const order = -parseQuantity(values[0] ?? '').comparedTo(decimal)
  if (op === 'lt') return order < 0
  if (op === 'lte') return order <= 0
  return op === 'gt' ? order > 0 : order >= 0
}

/** A text's content, or what JSON writes of a number or a boolean; nothing else has a text. */
function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (typeof value === 'number')
    return Number.isSafeInteger(value) ? String(value) : (tryQuantityFromJson(value)?.toFixed() ?? String(value))
  return typeof value === 'boolean' ? String(value) : undefined
}

function read(input: unknown, member: string, depth: number, negated: 0 | 1): FilterForm {
  if (depth > MAX_NESTING) throw invalidMeter(member, `is nested more than ${MAX_NESTING} deep: make it flatter`)
  const [kind, content] = onlyMember(input, member)
  const inside = `${member}.${kind}`
  switch (kind) {
    case 'not':
      return read(content, inside, depth + 1, negated === 1 ? 0 : 1)
    case 'and':
    case 'or': {
      if (!Array.isArray(content) || content.length === 0) throw invalidMeter(inside, 'must be a list of filters')
      const parts = content.map((part, place) => read(part, `${inside}.${place}`, depth + 1, negated))
      // Negated, an "and" is an "or" of its negated parts, and the other way round.
      const join = (kind === 'and') === (negated === 0) ? both : either
      return parts.reduce((left, right) => join(left, right, inside))
    }
    case 'exists':
      return [[[pathOf(content, inside, ['path']), 'exists', [], negated]]]
    case 'equals': {
      const path = pathOf(content, inside, ['path', 'value'])
      return [[[path, 'in', [textGiven(content, 'value', inside)], negated]]]
    }
    case 'in': {
      const path = pathOf(content, inside, ['path', 'values'])
      return [[[path, 'in', textsGiven(content, inside), negated]]]
    }
    case 'compare': {
      const path = pathOf(content, inside, ['path', 'op', 'value'])
      return [[[path, comparison(content, inside), [decimalGiven(content, inside)], negated]]]
    }
    default:
      throw invalidMeter(member, `has no "${kind.slice(0, 40)}": use equals, in, exists, compare, and, or, not`)
  }
}

function either(a: FilterForm, b: FilterForm, member: string): FilterForm {
  if (a.length + b.length > MAX_CLAUSES) throw tooLarge(member)
  return [...a, ...b]
}

function both(a: FilterForm, b: FilterForm, member: string): FilterForm {
  if (a.length * b.length > MAX_CLAUSES) throw tooLarge(member)
  return a.flatMap((left) =>
    b.map((right) => {
      if (left.length + right.length > MAX_CONDITIONS) throw tooLarge(member)
      return [...left, ...right]
    }),
  )
}

function tooLarge(member: string) {
  const bound = `more than ${MAX_CLAUSES} alternatives or ${MAX_CONDITIONS} conditions in one of them`
  return invalidMeter(member, `has, multiplied out, ${bound}: make it simpler`)
}

type Members = Record<string, unknown>

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function onlyMember(input: unknown, member: string): [string, unknown] {
  const entries = isMembers(input) ? Object.entries(input) : []
  const [entry] = entries
  if (!entry || entries.length > 1)
    throw invalidMeter(member, 'must be an object with one of equals, in, exists, compare, and, or, not')
  return entry
}

function pathOf(content: unknown, member: string, members: readonly string[]): Path {
  if (!isMembers(content) || Object.keys(content).sort().join() !== [...members].sort().join())
    throw invalidMeter(member, `must be an object with ${members.join(', ')}`)
  if (typeof content.path !== 'string' || content.path.length > 600)
    throw invalidMeter(`${member}.path`, 'must be a dotted path inside data')
  return parsePath(content.path, `${member}.path`)
}

function textGiven(content: unknown, name: string, member: string): string {
  return readText((content as Members)[name], `${member}.${name}`)
}

function textsGiven(content: unknown, member: string): string[] {
  const { values } = content as Members
  if (!Array.isArray(values) || values.length === 0 || values.length > MAX_VALUES)
    throw invalidMeter(`${member}.values`, `must be a list of 1 to ${MAX_VALUES} values`)
  return values.map((value, place) => readText(value, `${member}.values.${place}`))
}

function readText(value: unknown, member: string): string {
  // A number that JSON would not give back as it came is no number of a filter.
  const text = typeof value === 'number' && !tryQuantityFromJson(value) ? undefined : textOf(value)
  if (text === undefined || text.length > MAX_TEXT || /\p{Cc}|\p{Cs}/u.test(text))
    throw invalidMeter(
      member,
      `must be text of at most ${MAX_TEXT} characters, a number of at most 15 digits, true or false`,
    )
  return text
}

function comparison(content: unknown, member: string): Comparison {
  const { op } = content as Members
  const found = COMPARISONS.find((one) => one === op)
  if (!found) throw invalidMeter(`${member}.op`, `must be one of ${COMPARISONS.join(', ')}`)
  return found
}

function decimalGiven(content: unknown, member: string): string {
  const { value } = content as Members
  const quantity = tryQuantityFromJson(value)
  if (!quantity || quantity.isNegative() || !isQuantityText(formatQuantity(quantity)))
    throw invalidMeter(`${member}.value`, 'must be a decimal, best as text, not negative, such as "10.5"')
  return formatQuantity(quantity)
}
