import type { Pool } from 'pg'
import { readAggregations } from '../../schemas/clickhouse/aggregations.clickhouse.ts'
import { isAdditive } from '../../schemas/clickhouse/quantity-of.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { Reader, TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { seenSubjects, type Visible } from '../../schemas/http/scope.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { visibleSubjects } from '../../schemas/postgres/visible.postgres.ts'
import { formatQuantity, parseSum, type Quantity, ZERO } from '../../schemas/quantity.ts'
import { floorToMinute, type Window, windowStarts } from '../../schemas/time/period.ts'
import { isZone } from '../../schemas/time/zone.ts'
import { findMeter } from '../meters/meter.postgres.ts'
import type { Meter } from '../meters/meter.ts'
import { billedQuantity, findCustomer } from './billed.postgres.ts'
import { formatCursor, parseCursor } from './cursor.ts'
import { MAX_USAGE_ROWS, readTotal, readUsage, type UsageQuery, type UsageRow } from './usage.clickhouse.ts'

export type UsageInput = {
  meter: string
  subject?: string
  /** Several; together with `subject`: all of them. */
  subjects?: readonly string[]
  customer?: string
  /** RFC 3339 instants, already read; floored to the whole minute. */
  fromMs: number
  toMs: number
  window?: Window
  groupBy: readonly string[]
  timezone: string
  /** Usage as it was known before this moment. */
  asOfMs?: number
  /** So many windows at most, and those behind the cursor of an earlier answer. */
  limit?: number
  cursor?: string
}
export type UsageWindowAnswer = {
  start: string
  end: string
  subject?: string
  group?: Record<string, string>
  quantity: string
  events: number
}
export type UsageAnswer = {
  meter: string
  from: string
  to: string
  timezone: string
  total: { quantity: string; events: number }
  windows: UsageWindowAnswer[]
  /** With `customer`: what invoices of periods inside [from, to) were made from, and the rest. */
  billed?: string
  unbilled?: string
  /** With `limit`, if there are more windows. */
  next_cursor?: string
}

export type UsageDeps = { pool: Pool; store: ClickHouseStore }

/**
 * Exact usage of one meter, as known now or at an earlier moment, of what the reader may see (HC-8): usage of others
 * does not exist for it, in rows, totals, pages and errors alike. Windows without usage are left out.
 */
export async function queryUsage(deps: UsageDeps, reader: Reader, input: UsageInput): Promise<UsageAnswer> {
  const [fromMs, toMs] = [floorToMinute(input.fromMs), floorToMinute(input.toMs)]
  if (fromMs >= toMs) throw invalid('to', 'must lie at least a minute after from')
  if (!isZone(input.timezone)) throw invalid('timezone', 'is no IANA time zone, such as Europe/Paris')
  const { meter, customer, visible, billed } = await withTenant(deps.pool, reader.tenantId, async (tx) => {
    const named = input.customer === undefined ? undefined : await findCustomer(tx, input.customer, reader.scope)
    return {
      meter: await findMeter(tx, input.meter),
      customer: named,
      visible: await visibleSubjects(tx, reader.scope),
      billed: named && (await billedQuantity(tx, named.id, input.meter, fromMs, toMs)),
    }
  })
  if (!meter) throw new Problem('not_found', `There is no meter ${input.meter}`)
  if (input.customer !== undefined && !customer)
    throw new Problem('not_found', `There is no customer ${input.customer}`)
  const startsMs = input.window ? windowStarts(fromMs, toMs, input.window, input.timezone) : [fromMs]
  const floored = { ...input, fromMs, toMs }
  const { rows, total, more } = await read(
    deps,
    queryOf(reader.tenantId, floored, startsMs, meter),
    seenSubjects(customer ? customer.subjects : subjectsAsked(input), visible),
  )
  const last = rows.at(-1)
  return {
    meter: meter.slug,
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
    timezone: input.timezone,
    total: { quantity: formatQuantity(total.quantity), events: total.events },
    windows: windowsOf(rows, floored, startsMs, meter),
    ...(billed === undefined
      ? {}
      : {
          billed: formatQuantity(parseSum(billed)),
          unbilled: formatQuantity(total.quantity.minus(parseSum(billed))),
        }),
    ...(more && last ? { next_cursor: formatCursor(last) } : {}),
  }
}

type Total = { quantity: Quantity; events: number }
const NOTHING: Total = { quantity: ZERO, events: 0 }

async function read(
  deps: UsageDeps,
  asked: UsageQuery,
  seen: Visible,
): Promise<{ rows: UsageRow[]; total: Total; more: boolean }> {
  // Nobody to look at has no usage; to the statement an empty list means all subjects.
  if (seen !== 'everything' && seen.length === 0) return { rows: [], total: NOTHING, more: false }
  const aggregated = (await readAggregations(deps.store, asked.tenant, [asked.meter])).get(asked.meter)
  const query = { ...asked, subjects: seen === 'everything' ? [] : seen, ...(aggregated ? { aggregated } : {}) }
  const found = await readUsage(deps.store, query)
  const more = found.length > (query.limit ?? MAX_USAGE_ROWS)
  if (more && query.limit === undefined)
    throw invalid('window', `gives more than ${MAX_USAGE_ROWS} rows: ask for a shorter time or larger windows`)
  const rows = more ? found.slice(0, query.limit) : found
  const additive = query.limit === undefined && (!aggregated || isAdditive(aggregated))
  const total = additive ? rows.map(totalOf).reduce(plus, NOTHING) : totalOf(await readTotal(deps.store, query))
  return { rows, total, more }
}

const totalOf = (row: { quantity: string; events: string }): Total => ({
  quantity: parseSum(row.quantity),
  events: Number(row.events),
})
const plus = (a: Total, b: Total): Total => ({ quantity: a.quantity.plus(b.quantity), events: a.events + b.events })

/** Undefined: everybody's. */
function subjectsAsked({ subject, subjects = [] }: UsageInput): readonly string[] | undefined {
  const named = [...(subject === undefined ? [] : [subject]), ...subjects]
  return named.length > 0 ? named : undefined
}

function queryOf(tenant: TenantId, input: UsageInput, startsMs: readonly number[], meter: Meter): UsageQuery {
  const { limit, cursor, asOfMs } = input
  const groups = input.groupBy.filter((name) => name !== 'subject').map((name) => placeOf(meter, name))
  return {
    tenant,
    meter: meter.slug,
    subjects: [],
    fromMs: input.fromMs,
    toMs: input.toMs,
    startsMs,
    groups,
    bySubject: input.groupBy.includes('subject'),
    ...(asOfMs === undefined ? {} : { asOfMs }),
    ...(limit === undefined ? {} : { limit }),
    ...(cursor === undefined ? {} : { after: parseCursor(cursor, groups.length) }),
  }
}

/** 1-based, as ClickHouse counts. `$.region` and `region` name the same dimension. */
function placeOf(meter: Meter, name: string): number {
  const place = meter.groupBy.findIndex((group) => group.name === name.replace(/^\$\./, ''))
  if (place >= 0) return place + 1
  const names = ['subject', ...meter.groupBy.map((group) => group.name)].join(', ')
  throw invalid('group_by', `"${name}" is no dimension of meter ${meter.slug}: it has ${names}`)
}

function windowsOf(
  rows: readonly UsageRow[],
  input: UsageInput,
  startsMs: readonly number[],
  meter: Meter,
): UsageWindowAnswer[] {
  const { fromMs, toMs } = input
  const ends = new Map(startsMs.map((start, place) => [start, startsMs[place + 1] ?? toMs]))
  const names = input.groupBy
    .filter((name) => name !== 'subject')
    .map((name) => meter.groupBy[placeOf(meter, name) - 1]?.name ?? name)
  return rows.map((row) => ({
    start: new Date(Math.max(row.startMs, fromMs)).toISOString(),
    end: new Date(Math.min(ends.get(row.startMs) ?? toMs, toMs)).toISOString(),
    ...(input.groupBy.includes('subject') ? { subject: row.subject } : {}),
    ...(names.length > 0
      ? { group: Object.fromEntries(names.map((name, place) => [name, row.groupValues[place] ?? ''])) }
      : {}),
    quantity: formatQuantity(parseSum(row.quantity)),
    events: Number(row.events),
  }))
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `${path} ${message}`, { errors: [{ path, message }] })
}
