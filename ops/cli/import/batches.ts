import type { RecordSchema } from '../../../ingest/event-types/schema.ts'
import { withNumbers } from './numbers.ts'
import type { Row } from './row.ts'
import type { BrokenRow, Mapped } from './to-event.ts'

/** Rows that are sent together, and those between them that cannot be. `lastRow` is the last row of the file in it. */
export type Batch = {
  lastRow: number
  events: readonly { row: number; json: string }[]
  broken: readonly BrokenRow[]
}

const ROWS_PER_BATCH = 1_000
/** Well below what a request may hold. */
const CHARACTERS_PER_BATCH = 2_000_000

/** Cuts rows into batches, in order. `schemaOf` tells which numbers of a type are decimals. */
export async function* batchesOf(
  rows: AsyncIterable<Row>,
  map: (row: Row) => Mapped,
  schemaOf: (type: string) => Promise<RecordSchema | undefined>,
): AsyncIterable<Batch> {
  let events: { row: number; json: string }[] = []
  let broken: BrokenRow[] = []
  let characters = 0
  for await (const each of rows) {
    const mapped = map(each)
    if ('event' in mapped) {
      const json = await eventJson(mapped.event, schemaOf)
      events.push({ row: mapped.row, json })
      characters += json.length
    } else broken.push(mapped)
    if (events.length + broken.length < ROWS_PER_BATCH && characters < CHARACTERS_PER_BATCH) continue
    yield { lastRow: each.row, events, broken }
    events = []
    broken = []
    characters = 0
  }
  const lastRow = Math.max(events.at(-1)?.row ?? 0, broken.at(-1)?.row ?? 0)
  if (lastRow > 0) yield { lastRow, events, broken }
}

export async function eventJson(
  event: Record<string, unknown>,
  schemaOf: (type: string) => Promise<RecordSchema | undefined>,
): Promise<string> {
  const { data, ...attributes } = event
  const schema = typeof event.type === 'string' ? await schemaOf(event.type) : undefined
  return JSON.stringify({ ...(withNumbers(attributes, undefined) as object), data: withNumbers(data, schema) })
}
