import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { Type } from 'typebox'
import { Check } from 'typebox/value'
import { CUSTOMERS, EVENT_TYPE } from './demo-catalog.ts'
import { type DemoClient, problemOf } from './demo-client.ts'
import type { TraceRow } from './trace-csv.ts'

const BATCH_ROWS = 1000
const REQUESTS_IN_FLIGHT = 4

const gzipAsync = promisify(gzip)

const BatchAnswer = Type.Object({
  outcomes: Type.Array(
    Type.Object({
      index: Type.Integer(),
      outcome: Type.String(),
      code: Type.Optional(Type.String()),
      message: Type.Optional(Type.String()),
    }),
  ),
})

/** Posts every row as an event. Resolves only when each one is accepted or known; the first other outcome is thrown. */
export async function postTrace(
  tenant: DemoClient,
  rows: readonly TraceRow[],
  onPosted: (doneRows: number) => void,
): Promise<void> {
  const starts = Array.from({ length: Math.ceil(rows.length / BATCH_ROWS) }, (_, batch) => batch * BATCH_ROWS)
  let doneRows = 0
  await forEachInFlight(starts, REQUESTS_IN_FLIGHT, async (start) => {
    const batch = rows.slice(start, start + BATCH_ROWS)
    await postBatch(tenant, batch)
    doneRows += batch.length
    onPosted(doneRows)
  })
}

/** Runs the task on every item, a few at a time. After a failure nothing new begins, and what runs is waited for. */
export async function forEachInFlight<Item>(
  items: readonly Item[],
  inFlight: number,
  task: (item: Item) => Promise<void>,
): Promise<void> {
  const queue = items.values()
  const failures: unknown[] = []
  const work = async () => {
    for (const item of queue) {
      await task(item).catch((error: unknown) => failures.push(error))
      if (failures.length > 0) return
    }
  }
  await Promise.all(Array.from({ length: inFlight }, work))
  if (failures.length > 0) throw failures[0]
}

async function postBatch(tenant: DemoClient, batch: readonly TraceRow[]): Promise<void> {
  const gzippedJson = await gzipAsync(JSON.stringify(batch.map(eventOf)))
  const { outcomes } = await tenant
    .call({ method: 'POST', path: '/events', gzippedJson }, BatchAnswer)
    .catch((error: unknown) => {
      const document = problemOf(error)
      // A batch of which nothing was accepted is a problem document with the outcomes in it: name the event.
      if (Check(BatchAnswer, document)) return document
      throw error
    })
  const refused = outcomes.find(({ outcome }) => outcome !== 'accepted' && outcome !== 'duplicate')
  if (refused) {
    const { outcome, code = '', message = '' } = refused
    throw new Error(
      `Event row-${batch[refused.index]?.rowIndex} was not taken: ${outcome} ${code} ${message}`.trimEnd(),
    )
  }
  if (outcomes.length !== batch.length) {
    throw new Error(`${batch.length} events were posted, but ${outcomes.length} outcomes came back.`)
  }
}

/** A CloudEvent. The id is the row's place in the file, so a second run sends the same events. */
function eventOf(row: TraceRow): unknown {
  return {
    specversion: '1.0',
    id: `row-${row.rowIndex}`,
    source: 'demo',
    type: EVENT_TYPE,
    subject: CUSTOMERS[row.rowIndex % CUSTOMERS.length],
    time: new Date(row.timeMs).toISOString(),
    data: { context_tokens: row.contextTokens, generated_tokens: row.generatedTokens },
  }
}
