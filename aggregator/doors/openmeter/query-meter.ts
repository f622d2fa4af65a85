import type { Reader } from '../../../schemas/http/door.ts'
import { seenSubjects } from '../../../schemas/http/scope.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { visibleSubjects } from '../../../schemas/postgres/visible.postgres.ts'
import { floorToMinute, windowStarts } from '../../../schemas/time/period.ts'
import { findMeter as findOurMeter } from '../../meters/meter.postgres.ts'
import { queryUsage, type UsageDeps, type UsageWindowAnswer } from '../../usage/query-usage.ts'
import { type Extent, readExtents } from './extents.clickhouse.ts'
import { invalid, noMeter, type OpenmeterMeter } from './meter.ts'
import { findMeter } from './meters.postgres.ts'

const WINDOWS = { MINUTE: 'minute', HOUR: 'hour', DAY: 'day', MONTH: 'month' } as const
/** Longer than a window of the kind can be, clock changes and all. */
const LONGEST_MS = { minute: 120_000, hour: 3 * 3_600_000, day: 3 * 86_400_000, month: 40 * 86_400_000 }
export type WindowSize = keyof typeof WINDOWS

export type MeterQuery = {
  fromMs?: number
  toMs?: number
  windowSize?: WindowSize
  windowTimeZone: string
  subject: readonly string[]
  groupBy: readonly string[]
}
export type MeterRow = {
  value: number
  windowStart: string
  windowEnd: string
  subject: string | null
  groupBy: Record<string, string>
}

/** Until when "now" reaches: no event is later. */
const YEAR_2100_MS = Date.UTC(2100, 0, 1)

/**
 * Usage in OpenMeter's form: windows whole even at the ends; without a window size each row reaches from its first
 * event's minute to its last one's. Naming subjects groups by them, too.
 */
export async function queryMeter(
  deps: UsageDeps,
  reader: Reader,
  idOrSlug: string,
  query: MeterQuery,
): Promise<{ meter: OpenmeterMeter; groupBy: string[]; rows: MeterRow[] }> {
  const { meter, ours, visible } = await withTenant(deps.pool, reader.tenantId, async (tx) => {
    const found = await findMeter(tx, idOrSlug)
    const visible = await visibleSubjects(tx, reader.scope)
    return { meter: found, ours: found && (await findOurMeter(tx, found.meter)), visible }
  })
  if (!meter || !ours) throw noMeter(idOrSlug)
  const subjectAsked = query.subject.length > 0 && !query.groupBy.includes('subject')
  const groupBy = [...new Set([...query.groupBy, ...(subjectAsked ? ['subject'] : [])])]
  const dimensions = groupBy.filter((name) => name !== 'subject').map((name) => dimensionOf(meter, name))
  // A bounded query in windows needs to know nothing before.
  const bounded = query.windowSize !== undefined && query.fromMs !== undefined && query.toMs !== undefined
  const extents = bounded
    ? []
    : await readExtents(deps.store, reader.tenantId, {
        ...{ meter: meter.meter, bySubject: groupBy.includes('subject') },
        subjects: seenSubjects(query.subject.length > 0 ? query.subject : undefined, visible),
        fromMs: floorToMinute(query.fromMs ?? 0),
        toMs: floorToMinute(query.toMs ?? YEAR_2100_MS),
        groups: dimensions.map((name) => ours.groupBy.findIndex((group) => group.name === name) + 1),
      })
  if (!bounded && extents.length === 0) return { meter, groupBy, rows: [] }
  const windows = await usageOf(deps, reader, meter.meter, query, {
    fromMs: query.fromMs ?? Math.min(...extents.map((extent) => extent.fromMs)),
    toMs: query.toMs ?? Math.max(...extents.map((extent) => extent.toMs)),
    groupBy: groupBy.map((name) => (name === 'subject' ? name : dimensionOf(meter, name))),
  })
  const rangeOf = query.windowSize ? wholeWindow(query, WINDOWS[query.windowSize]) : extentOf(extents, dimensions)
  const names = groupBy.filter((name) => name !== 'subject')
  const rows = windows.map((window) => {
    const { fromMs, toMs } = rangeOf(window)
    return {
      value: Number(window.quantity),
      ...{ windowStart: rfc3339(fromMs), windowEnd: rfc3339(toMs), subject: window.subject ?? null },
      groupBy: Object.fromEntries(names.map((name) => [name, window.group?.[dimensionOf(meter, name)] ?? ''])),
    }
  })
  return { meter, groupBy, rows }
}

function dimensionOf(meter: OpenmeterMeter, name: string): string {
  const group = meter.groupBy.find((one) => one.name === name)
  if (!group) throw invalid('groupBy', `has no ${name.slice(0, 64)} in meter ${meter.slug}`)
  return group.dimension
}

type Range = { fromMs: number; toMs: number }

async function usageOf(
  deps: UsageDeps,
  reader: Reader,
  meter: string,
  query: MeterQuery,
  range: Range & { groupBy: string[] },
): Promise<UsageWindowAnswer[]> {
  const window = query.windowSize && WINDOWS[query.windowSize]
  const subjects = query.subject.length > 0 ? { subjects: query.subject } : {}
  const input = { meter, ...range, timezone: query.windowTimeZone, ...(window ? { window } : {}), ...subjects }
  return (await queryUsage(deps, reader, input)).windows
}

function extentOf(extents: readonly Extent[], dimensions: readonly string[]): (window: UsageWindowAnswer) => Range {
  const keyOf = (subject: string, values: readonly string[]) => JSON.stringify([subject, ...values])
  const known = new Map(extents.map((extent) => [keyOf(extent.subject, extent.groupValues), extent]))
  return ({ subject = '', group, start, end }) =>
    known.get(
      keyOf(
        subject,
        dimensions.map((name) => group?.[name] ?? ''),
      ),
    ) ?? { fromMs: Date.parse(start), toMs: Date.parse(end) }
}

/** The query cuts windows at its ends; the answer shows them whole. */
function wholeWindow(query: MeterQuery, window: keyof typeof LONGEST_MS): (window: UsageWindowAnswer) => Range {
  const known = new Map<string, Range>()
  return ({ start }) => {
    const before = known.get(start)
    if (before) return before
    const startMs = Date.parse(start)
    const [fromMs = startMs, toMs = startMs] = windowStarts(
      startMs,
      startMs + LONGEST_MS[window],
      window,
      query.windowTimeZone,
    )
    known.set(start, { fromMs, toMs })
    return { fromMs, toMs }
  }
}

/** Without fractions where there are none, as Go writes it. */
export function rfc3339(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z')
}
