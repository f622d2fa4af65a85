import type { Pool } from 'pg'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseSum, type Quantity, ZERO } from '../../schemas/quantity.ts'
import { floorToMinute, type Window, windowStarts } from '../../schemas/time/period.ts'
import { isZone } from '../../schemas/time/zone.ts'
import { findMeter } from '../meters/meter.postgres.ts'
import type { Meter } from '../meters/meter.ts'
import { billedQuantity, customerSubjects } from './billed.postgres.ts'
import { MAX_USAGE_ROWS, readUsage, type UsageRow } from './usage.clickhouse.ts'

export type UsageInput = {
  meter: string
  subject?: string
  customer?: string
  /** RFC 3339 instants, already read; floored to the whole minute. */
  fromMs: number
  toMs: number
  window?: Window
  groupBy: readonly string[]
  timezone: string
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
}

export type UsageDeps = { pool: Pool; store: ClickHouseStore }

/** Exact usage of one meter, as known now. Windows without usage are left out. */
export async function queryUsage(deps: UsageDeps, tenant: TenantId, input: UsageInput): Promise<UsageAnswer> {
  const [fromMs, toMs] = [floorToMinute(input.fromMs), floorToMinute(input.toMs)]
  if (fromMs >= toMs) throw invalid('to', 'must lie at least a minute after from')
  if (!isZone(input.timezone)) throw invalid('timezone', 'is no IANA time zone, such as Europe/Paris')
  const known = await withTenant(deps.pool, tenant, async (tx) => ({
    meter: await findMeter(tx, input.meter),
    subjects: input.customer === undefined ? undefined : await customerSubjects(tx, input.customer),
    billed:
      input.customer === undefined ? undefined : await billedQuantity(tx, input.customer, input.meter, fromMs, toMs),
  }))
  const { meter } = known
  if (!meter) throw new Problem('not_found', `There is no meter ${input.meter}`)
  if (input.customer !== undefined && !known.subjects)
    throw new Problem('not_found', `There is no customer ${input.customer}`)
  const startsMs = input.window ? windowStarts(fromMs, toMs, input.window, input.timezone) : [fromMs]
  const rows = await rowsOf(deps, tenant, { ...input, fromMs, toMs }, startsMs, meter, known.subjects)
  if (rows.length > MAX_USAGE_ROWS)
    throw invalid('window', `gives more than ${MAX_USAGE_ROWS} rows: ask for a shorter time or larger windows`)
  const total = rows.reduce((sum: Quantity, row) => sum.plus(parseSum(row.quantity)), ZERO)
  return {
    meter: meter.slug,
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
    timezone: input.timezone,
    total: { quantity: formatQuantity(total), events: rows.reduce((sum, row) => sum + Number(row.events), 0) },
    windows: windowsOf(rows, { ...input, fromMs, toMs }, startsMs, meter),
    ...(known.billed === undefined
      ? {}
      : {
          billed: formatQuantity(parseSum(known.billed)),
          unbilled: formatQuantity(total.minus(parseSum(known.billed))),
        }),
  }
}

async function rowsOf(
  deps: UsageDeps,
  tenant: TenantId,
  input: UsageInput,
  startsMs: readonly number[],
  meter: Meter,
  subjects: string[] | undefined,
): Promise<UsageRow[]> {
  // A customer without subjects has no usage; an empty list would mean all subjects.
  if (subjects?.length === 0) return []
  const groups = input.groupBy.filter((name) => name !== 'subject').map((name) => placeOf(meter, name))
  return readUsage(deps.store, {
    tenant,
    meter: meter.slug,
    subjects: [...(subjects ?? []), ...(input.subject === undefined ? [] : [input.subject])],
    fromMs: input.fromMs,
    toMs: input.toMs,
    startsMs,
    groups,
    bySubject: input.groupBy.includes('subject'),
  })
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
