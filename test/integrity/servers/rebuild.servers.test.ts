import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { migrateClickHouse } from '../../../ops/migrate/migrate.clickhouse.ts'
import { type Stack, startStack } from '../../../ops/stack/stack.ts'
import { openClickHouse } from '../../../ops/stores/clickhouse-http.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { LENGTHS } from '../../support/lengths.ts'
import { drawSeed } from '../../support/random.ts'
import { createRebuildWorld } from '../rebuild-world.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 500_000, hookTimeout: 120_000 })

const STEPS = LENGTHS.rebuildSteps
/** Each on a connection of its own, beside that of the rebuilds. */
const READERS = 4
const seed = drawSeed('rebuild on servers')
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

/** design.md §4.1, §4.5, §4.6, while statements of several connections run at once. */
test.each([1, 2])(
  'readers see the set of identities while shards are rebuilt and cleaned, world %i',
  async (tenant) => {
    const world = await createRebuildWorld(store, tenant, seed + tenant)
    for (let step = 0; step < STEPS; step++) {
      const problems = await world.stepUnderReads(READERS)
      expect(problems.slice(0, 5), `seed ${seed}, world ${tenant}, step ${step}`).toEqual([])
    }
    expect(world.counts.reads).toBeGreaterThan(STEPS)
    process.stdout.write(`rebuild on servers: world ${tenant}: ${JSON.stringify(world.counts)}\n`)
  },
)
