import { afterAll, beforeAll, expect, test } from 'vitest'
import { migrateClickHouse, migrateClickHouseAccess, skippedLine } from '../../../ops/migrate/migrate.clickhouse.ts'
import { type Stack, startStack } from '../../../ops/stack/stack.ts'
import { openClickHouse } from '../../../ops/stores/clickhouse-http.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'

let stack: Stack<'clickhouse'>
let store: ClickHouseStore

beforeAll(async () => {
  stack = await startStack({ only: ['clickhouse'] })
  store = openClickHouse(stack.clickhouse.url)
  await migrateClickHouse(store)
})
afterAll(async () => {
  await store.close()
  await stack.stop()
})

/** Issue 5, "Analysts". A server of containers may manage users; the front over chDB may not, and says so over HTTP. */
test('a server gets the role of analysts, or it is said over HTTP why not', async () => {
  const access = await migrateClickHouseAccess(store)
  if (access.skipped) expect(skippedLine(access)).toContain('necessary to have the grant SHOW ROW POLICIES')
  else expect(await migrateClickHouseAccess(store)).toEqual({ done: [] })
})

test('the views of analysts take their parameters over HTTP', async () => {
  const sql = `SELECT tenant FROM usage_daily(tenant = {tenant:UInt32}, from_ms = {from:Int64}, to_ms = {to:Int64})
    UNION ALL SELECT tenant FROM events_deduplicated(tenant = {tenant:UInt32})`
  expect(await store.query(sql, { tenant: 7, from: 0, to: 1 })).toEqual([])
})
