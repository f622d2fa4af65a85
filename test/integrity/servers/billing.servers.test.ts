import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type Stack, startStack } from '../../../ops/stack/stack.ts'
import { drawSeed } from '../../support/random.ts'
import { SUBJECTS } from '../catalog.ts'
import { BILLING_STEPS, billAgain, type OpenedBilling, openBilling, openRun } from '../crash-billing.ts'
import { dieAt } from '../mortal.ts'
import { createServersRig, type ServersRig, siteOf } from './rig.ts'
import { partAt, type Runners, runInStep } from './two-runners.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

const KILLED = { code: null, signal: 'SIGKILL' }
const RIGHT = { runs: ['completed'], problems: [] }

const seed = drawSeed('billing on servers')
let stack: Stack
let rig: ServersRig
let runners: Runners
const billings: OpenedBilling[] = []

beforeAll(async () => {
  stack = await startStack({})
  rig = await createServersRig(stack.env)
  runners = [rig.process('invoicer-1'), rig.add('invoicer-2')]
})
afterAll(async () => {
  await rig?.remove()
  await stack?.stop()
})

async function openTenant(slug: string): Promise<OpenedBilling> {
  const billing = await openBilling(siteOf(rig), slug, seed)
  billings.push(billing)
  return billing
}

async function outcomeOf(billing: OpenedBilling) {
  return { runs: await billing.runs(), problems: await billing.problems() }
}

/** reliability.md §2.7 and §3.1 C3, C5, C8. Each life of the invoicer takes the run up and dies one step later. */
test('one run, killed at every step in turn, bills as if nothing had happened', async () => {
  const billing = await openTenant('crashes')
  const [invoicer] = runners
  let live = () => openRun(billing)
  for (const [step, nth] of BILLING_STEPS) {
    expect(await dieAt(invoicer, { step, nth }, () => live())).toEqual({ exit: KILLED, reached: step })
    // It may die before it is ready.
    live = async () => void invoicer.start().catch(() => undefined)
  }
  await invoicer.start()
  expect(await outcomeOf(billing), `seed ${seed}`).toEqual(RIGHT)
  // Some twice in the middle of charging, then all before the result, then all: each under the key it had first, which
  // is among the problems looked for.
  expect(await billing.asked()).toBeGreaterThan(2 * SUBJECTS.length)
})

/** design.md §4.3 and §4.6: unique keys let one of two runners through, wherever they meet. */
test('two runners of one run, in step from its first step to its last, bill once', async () => {
  const billing = await openTenant('in-step')
  await runInStep(runners, billing)
  expect(await outcomeOf(billing), `seed ${seed}`).toEqual(RIGHT)
  // Both have asked the gateway for everything, each invoice under one key.
  expect(await billing.asked()).toBe(2 * SUBJECTS.length)
})

test.each([
  { meet: 'run:issue', dies: { step: 'run:attempt' }, waits: 'run:attempt' },
  { meet: 'run:charge', dies: { step: 'charge-begins', nth: 5 }, waits: 'run:settle' },
] as const)(
  'two runners meet at $meet, one is killed at $dies.step: the other one bills, and nothing twice',
  async (parting) => {
    const billing = await openTenant(`parted-at-${parting.dies.step.replace(':', '-')}`)
    expect(await partAt(runners, billing, parting)).toEqual({ exit: KILLED, reached: parting.dies.step })
    expect(await outcomeOf(billing), `seed ${seed}`).toEqual(RIGHT)
    await runners[0].start()
    expect(await outcomeOf(billing)).toEqual(RIGHT)
  },
)

test('once more changes nothing anywhere: no invoice, no number, no charge', async () => {
  const again = await Promise.all(billings.map(billAgain))
  expect(again).toEqual(billings.map(() => ({ run: 'completed', invoicesCreated: 0, problems: [] })))
  expect(billings).toHaveLength(4)
  expect(rig.embedded()).toBe(false)
})
