import { Type } from 'typebox'
import { Check } from 'typebox/value'
import { readSchema } from '../../../ingest/event-types/read-schema.ts'
import type { RecordSchema } from '../../../ingest/event-types/schema.ts'
import { type Batch, batchesOf } from './batches.ts'
import { type ImportClient, type Outcome, refused } from './import-client.ts'
import type { RowSource } from './row.ts'
import type { ImportState, Totals } from './state.ts'
import type { rowMapper } from './to-event.ts'

const BATCHES_IN_FLIGHT = 4

export type ImportRun = {
  client: ImportClient
  source: RowSource
  map: ReturnType<typeof rowMapper>
  state: ImportState
  /** Where events are sent. */
  path: string
  onRows: (doneRows: number, totalRows: number) => void
}

/**
 * Sends what is left of a file: a few batches at a time, their outcomes taken in the order of the rows, so that the
 * state can say of every row up to one that it is done.
 */
export async function runImport({ client, source, map, state, path, onRows }: ImportRun): Promise<void> {
  const inFlight: { batch: Batch; outcomes: Promise<Outcome[]> }[] = []
  const takeOldest = async () => {
    const oldest = inFlight.shift()
    if (!oldest) return
    const { totals, refusedLines } = addUp(state.totals(), oldest.batch, await oldest.outcomes)
    await state.advance(oldest.batch.lastRow, totals, refusedLines)
    onRows(state.rowsDone(), source.totalRows)
  }
  try {
    for await (const batch of batchesOf(source.rows(state.rowsDone()), map, schemaReader(client))) {
      const events = batch.events.map(({ json }) => json)
      const outcomes = events.length === 0 ? Promise.resolve([]) : client.send(path, events)
      // A failure is met when its turn comes.
      outcomes.catch(() => undefined)
      inFlight.push({ batch, outcomes })
      if (inFlight.length === BATCHES_IN_FLIGHT) await takeOldest()
    }
    while (inFlight.length > 0) await takeOldest()
  } finally {
    // After a failure nothing new begins, and what is under way is waited for.
    await Promise.allSettled(inFlight.map(({ outcomes }) => outcomes))
  }
}

function addUp(before: Totals, batch: Batch, outcomes: readonly Outcome[]): { totals: Totals; refusedLines: string[] } {
  const totals = { ...before, broken: before.broken + batch.broken.length }
  const lines = batch.broken.map(({ row, code, path, message, cells }) => ({
    row,
    line: JSON.stringify({ row, code, path, message, cells: plain(cells) }),
  }))
  outcomes.forEach(({ outcome, code = outcome, path = '', message = '' }, index) => {
    const sent = batch.events[index]
    if (!(outcome in totals) || !sent) throw new Error(`The product answered with an outcome ${outcome}`)
    totals[outcome as keyof Totals]++
    if (outcome === 'accepted' || outcome === 'duplicate') return
    const head = JSON.stringify({ row: sent.row, code, path, message })
    lines.push({ row: sent.row, line: `${head.slice(0, -1)},"event":${sent.json}}` })
  })
  return { totals, refusedLines: lines.sort((a, b) => a.row - b.row).map(({ line }) => line) }
}

/** Numbers that are still texts are written as such. */
function plain(cells: unknown): unknown {
  return JSON.parse(JSON.stringify(cells, (_, value: unknown) => textOf(value)))
}

function textOf(value: unknown): unknown {
  const isText = typeof value === 'object' && value !== null && 'numberText' in value
  return isText ? value.numberText : value
}

const EventTypeAnswer = Type.Object({ schema: Type.Unknown() })

/**
 * The schemas of event types, each asked for once. A key that may not read them, and a type without one, leave numbers
 * as they are.
 */
export function schemaReader(client: ImportClient): (type: string) => Promise<RecordSchema | undefined> {
  const known = new Map<string, RecordSchema | undefined>()
  return async (type) => {
    if (known.has(type)) return known.get(type)
    const answer = await client.call('GET', `/event-types/${encodeURIComponent(type)}`)
    if (answer.status === 401) throw refused('The product', answer)
    known.set(
      type,
      answer.status === 200 && Check(EventTypeAnswer, answer.body) ? tryRead(answer.body.schema) : undefined,
    )
    return known.get(type)
  }
}

function tryRead(schema: unknown): RecordSchema | undefined {
  try {
    return readSchema(schema)
  } catch {
    return undefined
  }
}
