import { afterAll, beforeAll } from 'vitest'
import { migrateClickHouse } from '../../ops/migrate/migrate.clickhouse.ts'
import { type Stack, startStack } from '../../ops/stack/stack.ts'
import { openClickHouse } from '../../ops/stores/clickhouse-http.clickhouse.ts'
import { describeUsageStore } from './usage-store.ts'

let stack: Stack<'clickhouse'>
beforeAll(async () => {
  stack = await startStack({ only: ['clickhouse'] })
})
afterAll(() => stack.stop())

describeUsageStore('http', async () => {
  const store = openClickHouse(stack.clickhouse.url)
  await migrateClickHouse(store)
  return store
})
