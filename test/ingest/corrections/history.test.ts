import { afterAll, beforeAll, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { rowsOfEvent } from '../../../ingest/corrections/events.clickhouse.ts'
import { historyOf } from '../../../ingest/corrections/history.ts'
import { visibleHistory } from '../../../ingest/corrections/visible-history.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { encodeOperation, REPLACE_TYPE } from '../../../schemas/event/operation.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'

const TENANT = 7
const COPIES = 5
let store: ClickHouseStore

beforeAll(async () => {
  store = await openUsageStore()
  const copies = Array.from({ length: COPIES }, (_, n) =>
    usageEvent('a', { tenant: TENANT, subject: 'former', data: { tokens: n + 1 } }),
  )
  await insertRecords(store, 'log', [logRow(copies)])
  for (const [offset, subject] of ['other', 'now'].entries()) {
    const replacement = { type: 'llm.request', subject, timeMs: NOVEMBER_20, dataJson: '{"tokens":9}' }
    const said = encodeOperation({ operation: subject, reason: 'r', by: 'k', replacement })
    const data = JSON.parse(said) as object
    const operation = usageEvent('a', { tenant: TENANT, type: REPLACE_TYPE, subject: '', data })
    await insertRecords(store, 'log', [
      logRow([operation], { offset: offset + 1, knownAtMs: NOVEMBER_20 + 1 + offset }),
    ])
  }
})
afterAll(() => store.close())

/** HC-8: copies past the cut hid a later replacement, so the subject before it went on seeing the event. */
test('however many copies came before, operations are read, and the event belongs to whom the last names', async () => {
  for (const mostCopies of [1, 2, COPIES]) {
    const rows = await rowsOfEvent(store, TENANT, 'test', 'a', mostCopies)
    const history = { source: 'test', id: 'a', ...historyOf(rows) }
    expect(history.copies.map(({ data }) => data)).toEqual(
      Array.from({ length: mostCopies }, (_, n) => `{"tokens":${n + 1}}`),
    )
    expect(history.operations.map((operation) => operation.operation_id)).toEqual(['other', 'now'])
    expect(history).toMatchObject({ state: 'counts', event: { subject: 'now', data: '{"tokens":9}' } })
    expect(visibleHistory(history, ['former'])).toBeUndefined()
    expect(visibleHistory(history, ['now'])).toBeDefined()
  }
})
