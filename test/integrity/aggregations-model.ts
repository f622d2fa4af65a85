import type { MeterInput } from '../../aggregator/meters/meter.ts'
import { evaluatorOf } from '../../schemas/meter/evaluate.ts'
import { parseValue } from '../../schemas/meter/expression.ts'
import { filterFormOf, passes } from '../../schemas/meter/filter.ts'
import { formatQuantity, parseQuantity, type Quantity, ZERO } from '../../schemas/quantity.ts'

export type Data = Record<string, unknown>
export type Payload = { type: string; subject: string; timeMs: number; data: Data }
/** A copy as it lies in the log; an operation says what the identity counts as from then on, undefined: as nothing. */
export type Copy = { key: string; knownAtMs: number; order: number; event?: Payload; operation?: Operation }
export type Operation = { id: string; replacement: Payload | undefined }
/** A meter's versions: each counts from its time to that of the next. */
export type MeterModel = { slug: string; versions: { input: MeterInput; fromMs: number }[] }
export type Counted = {
  subject: string
  region: string
  timeMs: number
  order: number
  value: Quantity
  text: string | undefined
}
export type Figure = { quantity: string; events: number }

const HOUR_MS = 3_600_000

/** Every identity once: what its latest operation says, an operation being its first copy, else its first copy. */
export function effective(copies: readonly Copy[], asOfMs: number): { payload: Payload; order: number }[] {
  const known = copies.filter(({ knownAtMs }) => knownAtMs < asOfMs).sort((a, b) => a.order - b.order)
  return [...new Set(known.map(({ key }) => key))].flatMap((key) => {
    const own = known.filter((copy) => copy.key === key)
    const first = own.find(({ event }) => event)
    const ids = new Set<string>()
    const operations = own.flatMap(({ operation }) => {
      if (!operation || ids.has(operation.id)) return []
      ids.add(operation.id)
      return [operation]
    })
    const last = operations.at(-1)
    const payload = last ? last.replacement : first?.event
    return first && payload ? [{ payload, order: first.order }] : []
  })
}

export function countedBy(meter: MeterModel, events: readonly { payload: Payload; order: number }[]): Counted[] {
  return events.flatMap(({ payload, order }) => {
    const version = meter.versions.filter(({ fromMs }) => fromMs <= payload.timeMs).at(-1)
    if (!version || version.input.event_type !== payload.type) return []
    const { filter, value, aggregation } = version.input
    if (filter && !passes(filterFormOf(filter), payload.data)) return []
    const { subject, timeMs, data } = payload
    const region = typeof data.region === 'string' ? data.region : ''
    const row = { subject, region, timeMs, order, text: undefined }
    if (aggregation === 'count') return [{ ...row, value: parseQuantity('1') }]
    if (aggregation === 'unique_count') return [{ ...row, value: ZERO, text: textOf(data[value ?? '']) }]
    const evaluate = evaluatorOf(parseValue(value ?? ''), aggregation === 'time_weighted_sum')
    return [{ ...row, value: ZERO.plus(evaluate(data) ?? ZERO) }]
  })
}

/** What some events come to, in the plainest way; `startMs` and `endMs` are those of the window. */
export function figureOf(input: MeterInput, all: readonly Counted[], startMs: number, endMs: number): Figure {
  const rows = all.filter(({ timeMs }) => timeMs >= startMs && timeMs < endMs)
  const values = rows.map(({ value }) => value).sort((a, b) => a.comparedTo(b))
  const sum = values.reduce((total, value) => total.plus(value), ZERO)
  const latest = [...rows].sort((a, b) => a.timeMs - b.timeMs || a.order - b.order).at(-1)
  const quantity = (() => {
    switch (input.aggregation) {
      case 'min':
        return values[0]
      case 'max':
        return input.window ? maxima(rows, input.window === 'hour' ? HOUR_MS : 24 * HOUR_MS) : values.at(-1)
      case 'average':
        return rows.length === 0 ? ZERO : sum.dividedBy(rows.length).toDecimalPlaces(12)
      case 'unique_count':
        return ZERO.plus(new Set(rows.flatMap(({ text }) => text ?? [])).size)
      case 'latest':
        return latest?.value
      case 'percentile':
        return values[
          ZERO.plus(input.percentile ?? '')
            .times(rows.length)
            .dividedBy(100)
            .ceil()
            .toNumber() - 1
        ]
      case 'time_weighted_sum':
        return timeWeighted(all, startMs, endMs)
      default:
        return sum
    }
  })()
  return { quantity: formatQuantity(quantity ?? ZERO), events: rows.length }
}

function maxima(rows: readonly Counted[], lengthMs: number): Quantity {
  const largest = new Map<number, Quantity>()
  for (const { timeMs, value } of rows) {
    const start = Math.floor(timeMs / lengthMs)
    const before = largest.get(start)
    if (!before || before.lessThan(value)) largest.set(start, value)
  }
  return [...largest.values()].reduce((sum, value) => sum.plus(value), ZERO)
}

/** Second by second would be plainer, but events come in milliseconds: the level between each two changes. */
function timeWeighted(all: readonly Counted[], startMs: number, endMs: number): Quantity {
  const changes = [...all].sort((a, b) => a.timeMs - b.timeMs)
  let [level, weighted] = [ZERO, ZERO]
  for (const [place, { timeMs, value }] of changes.entries()) {
    level = level.plus(value)
    const untilMs = Math.min(changes[place + 1]?.timeMs ?? endMs, endMs)
    weighted = weighted.plus(level.times(Math.max(0, untilMs - Math.max(timeMs, startMs))))
  }
  return weighted.dividedBy(endMs - startMs).toDecimalPlaces(12)
}

function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}
