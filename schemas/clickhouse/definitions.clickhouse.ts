import type { ClickHouseStore } from './store.ts'

/**
 * A version of a meter as ClickHouse knows it. Plain: its quantity is one property or the number of events, and adds up;
 * nothing is filtered. Times in ms, half-open.
 */
export type Definition = {
  meter: string
  revision: number
  eventType: string
  fromMs: number
  untilMs: number
  plain: boolean
  /** Path of the value; of a meter that counts, none. */
  value: readonly string[] | undefined
  groups: readonly (readonly string[])[]
}

/** What stands for the meter '', which counts every event once, among definitions. */
export const EVERY_EVENT: Definition = {
  meter: '',
  revision: 0,
  eventType: '',
  fromMs: 0,
  untilMs: 0,
  plain: true,
  value: undefined,
  groups: [],
}

/** Definitions as the parameter of the view usage_from_events. */
export function definitionsParam(definitions: readonly Definition[]): string {
  return JSON.stringify(
    definitions.map(({ meter, eventType, fromMs, untilMs, value, groups }) => [
      meter,
      eventType,
      fromMs,
      untilMs,
      value ?? [],
      groups,
    ]),
  )
}

/** Every version of the meters. */
export async function readDefinitions(
  store: ClickHouseStore,
  tenant: number,
  meters: readonly string[] | 'all',
): Promise<Definition[]> {
  const rows = await store.query<{
    meter: string
    revision: number
    event_type: string
    from_ms: string
    plain: number
    paths: string[][]
    numbers: string
    group_paths: string[][]
  }>(
    `SELECT meter, revision, event_type, toString(toUnixTimestamp64Milli(effective_from)) AS from_ms,
       kind IN (0, 7) AND empty(polynomials) AND empty(filter) AS plain,
       paths, toString(number_count) AS numbers, group_paths
     FROM meter_versions FINAL
     WHERE tenant = {tenant:UInt32} AND ({all:Bool} OR meter IN {meters:Array(String)})
     ORDER BY meter, version`,
    { tenant, all: meters === 'all' ? 'true' : 'false', meters: meters === 'all' ? [] : meters },
  )
  return rows.map((row, place) => {
    const next = rows[place + 1]
    return {
      meter: row.meter,
      revision: row.revision,
      eventType: row.event_type,
      fromMs: Number(row.from_ms),
      untilMs: next?.meter === row.meter ? Number(next.from_ms) : NEVER_MS,
      plain: Boolean(row.plain),
      value: row.numbers === '1' ? row.paths[0] : undefined,
      groups: row.group_paths,
    }
  })
}

/** The last version of a meter has no end: the year 2200. */
const NEVER_MS = 7_258_118_400_000
