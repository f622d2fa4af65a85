import { afterAll, beforeAll, expect, test } from 'vitest'
import { drawSeed } from '../support/random.ts'
import { type CrashWorld, openCrashWorld } from './crash-ingest.ts'
import { QUOTA_EVENTS, quotaCrashProblems } from './quota-crash.ts'
import { PORT_STEPS } from './steps.ts'

// A bound against hanging, not a promise: other work may share the machine.
/** Charges belong to invoicer-crash.test.ts, the draw has a test of its own below. */
const STEPS = (Object.keys(PORT_STEPS) as (keyof typeof PORT_STEPS)[]).filter(
  (step) => !step.startsWith('charge') && step !== 'quota-drawn',
)
const KILLED = { code: null, signal: 'SIGKILL' }

const seed = drawSeed('crash steps')
let world: CrashWorld

beforeAll(async () => {
  world = await openCrashWorld(seed)
})
afterAll(() => world.remove())

/** reliability.md §3.2, rows one and two; C1 and C2. One folder goes through all steps. */
test.each(STEPS)('killed at %s, nothing is lost and nothing counts twice', async (step) => {
  expect(await world.crashAt(step), PORT_STEPS[step]).toEqual({ exit: KILLED, reached: step })
  expect(await world.settle(), `seed ${seed}`).toEqual([])
  expect(world.ledger.surprises).toEqual([])
})

/** reliability.md §3.1 C6, with a bound of nothing: the embedded counters survive kill -9. */
test('killed between the draw and the append, the quota counter is exact and the event draws once', async () => {
  expect(await quotaCrashProblems(world)).toEqual([])
})

test('after all crashes the stored identities are the acknowledged ones, compared id by id', async () => {
  expect(await world.compareIdentities(), `seed ${seed}`).toEqual([])
  expect(world.ledger.acknowledged.size).toBe(world.ledger.events.size + QUOTA_EVENTS)
})
