import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { openClickHouse } from '../../../ops/stores/clickhouse-http.clickhouse.ts'
import { encodeLogRows } from '../../../schemas/event/usage-batch.avro.ts'
import { logRow, usageEvent } from '../../support/log-events.ts'

/** What a server is sent, in the order in which it comes: the statement, then how many bytes stand behind it. */
async function listen() {
  const statements: string[] = []
  let bytes = 0
  const server = createServer(async (request, response) => {
    const body = await buffer(request)
    bytes += body.length
    const inUrl = new URL(request.url ?? '', 'http://x').searchParams.get('query')
    statements.push(/INSERT INTO \w+/.exec(inUrl ?? body.toString('latin1'))?.[0] ?? '')
    response.end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const store = openClickHouse(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  onTestFinished(async () => {
    await store.close()
    server.close()
  })
  return { store, statements, bytes: () => bytes }
}

/** It used to go out three times: with the events, the marks and the ranges. */
test('log records go out once, events before marks before ranges (design.md §2.6, §4.2)', async () => {
  const { store, statements, bytes } = await listen()
  const events = Array.from({ length: 2_000 }, (_, n) => usageEvent(`e-${n}`, { data: { text: 'x'.repeat(500) } }))
  const rows = [logRow(events)]
  await insertRecords(store, 'log', rows)
  expect(statements).toEqual(['INSERT INTO events', 'INSERT INTO shard_changes', 'INSERT INTO ingest_ranges'])
  const file = encodeLogRows(rows).length
  expect(bytes()).toBeGreaterThan(file)
  expect(bytes()).toBeLessThan(1.2 * file)
})

test('no records, no statement', async () => {
  const { store, statements } = await listen()
  await insertRecords(store, 'log', [])
  expect(statements).toEqual([])
})
