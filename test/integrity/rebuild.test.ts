import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openChdb } from '../../ops/embedded/chdb.clickhouse.ts'
import { migrateClickHouse } from '../../ops/migrate/migrate.clickhouse.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { LENGTHS } from '../support/lengths.ts'
import { drawSeed } from '../support/random.ts'
import { createRebuildWorld } from './rebuild-world.ts'

// A bound against hanging, not a promise: other work may share the machine.
const STEPS = LENGTHS.rebuildSteps
const seed = drawSeed('rebuild')
const folder = mkdtempSync(join(tmpdir(), 'tallyline-rebuild-'))
let store: ClickHouseStore

beforeAll(async () => {
  store = await openChdb(folder, 2)
  await migrateClickHouse(store)
})
afterAll(async () => {
  await store.close()
  rmSync(folder, { recursive: true, force: true })
  rmSync(`${folder}-scratch`, { recursive: true, force: true })
})

/** design.md §4.1, §4.5, §4.6: a function of the set of identities, now and as of every W. */
test.each([1, 2, 3])('usage and seals are those of the set of identities at every step, world %i', async (tenant) => {
  const world = await createRebuildWorld(store, tenant, seed + tenant)
  for (let step = 0; step < STEPS; step++) {
    const problems = await world.step()
    expect(problems.slice(0, 5), `seed ${seed}, world ${tenant}, step ${step}`).toEqual([])
  }
  expect(await world.rebuildTwice(), `seed ${seed}, world ${tenant}`).toEqual([])
  process.stdout.write(`rebuild: world ${tenant}: ${JSON.stringify(world.counts)}\n`)
})
