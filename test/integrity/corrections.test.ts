import { afterEach, describe, expect, test, vi } from 'vitest'
import { type Metering, openMetering } from '../support/metering.ts'
import { drawSeed, randomOf } from '../support/random.ts'
import { createCorrectionsWorld } from './corrections-world.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 120_000 })

const STEPS = 12
const seed = drawSeed('corrections')
let metering: Metering
afterEach(() => metering.close())

/** design.md §4: the effective payload is the latest operation's, else the first copy's; a void of an unknown event waits. */
test('whatever is sent, voided and replaced, and whenever shards are rebuilt, usage is that of what counts', async () => {
  metering = await openMetering()
  const world = await createCorrectionsWorld(metering, await metering.tenant('world'), randomOf(seed))
  for (let step = 0; step < STEPS; step++) {
    expect((await world.step()).slice(0, 5), `seed ${seed}, step ${step}`).toEqual([])
  }
  process.stdout.write(`corrections: ${JSON.stringify(world.counts)}\n`)
})

/** Invariant 9: each check fails against its planted bug. */
describe('a planted bug is found', () => {
  const problemsWithin = async (steps: number, beforeEachStep: () => Promise<void> = async () => undefined) => {
    const world = await createCorrectionsWorld(metering, await metering.tenant('planted'), randomOf(seed))
    for (let step = 0; step < steps; step++) {
      await beforeEachStep()
      if ((await world.step()).length > 0) return true
    }
    return false
  }

  test('operations that are acknowledged and not kept', async () => {
    metering = await openMetering((writer) => ({
      ...writer,
      append: (records) => writer.append(records.filter(({ record }) => !record.includes('tallyline.'))),
    }))
    expect(await problemsWithin(40)).toBe(true)
  })

  test('rollups that are believed to cover what came after them', async () => {
    metering = await openMetering()
    const believe = () =>
      metering.store.command(
        `INSERT INTO shard_heads (tenant, shard, version, run, covered, built_at)
         SELECT tenant, shard, max(version) + 1, argMax(run, version), bitShiftLeft(toUInt64(1), 50), now64(3)
         FROM shard_heads GROUP BY tenant, shard`,
      )
    expect(await problemsWithin(40, believe)).toBe(true)
  })
})
