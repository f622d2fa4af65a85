import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { migrateClickHouse } from '../../../ops/migrate/migrate.clickhouse.ts'
import { type Stack, startStack } from '../../../ops/stack/stack.ts'
import { openClickHouse } from '../../../ops/stores/clickhouse-http.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { drawSeed } from '../../support/random.ts'
import { headsFirst } from '../planted-ports.ts'
import { createRebuildWorld } from '../rebuild-world.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 500_000, hookTimeout: 120_000 })

/** Each on a connection of its own, beside that of the rebuilds. */
const READERS = 4
/** The planted bug shows when a read falls between two statements: so long after one another they are far apart. */
const PLANTED_PAUSE_MS = 2_000
/** Not each of them rebuilds. */
const MOST_PLANTED_STEPS = 60
const seed = drawSeed('planted rebuild on servers')
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

/** The heads' numbers are right; only the order is wrong. Step by step nobody notices. */
test('a rebuild that writes its heads before its rows is found out', async () => {
  const world = await createRebuildWorld(headsFirst(store, PLANTED_PAUSE_MS), 3, seed)
  let problems: string[] = []
  for (let step = 0; step < MOST_PLANTED_STEPS && problems.length === 0; step++) {
    problems = await world.stepUnderReads(READERS)
  }
  expect(problems.join('\n')).toMatch(/instead of/)
})
