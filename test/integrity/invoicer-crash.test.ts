import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { RUN_STEPS } from '../../invoicer/billing/run/steps.ts'
import { apiOf } from '../support/api.ts'
import type { Product } from '../support/product.ts'
import { drawSeed } from '../support/random.ts'
import { SUBJECTS } from './catalog.ts'
import { type CrashedBilling, crashBillingAt, openBillingCrash } from './crash-billing.ts'
import { createRig, type Rig } from './kill-nine.ts'
import type { Step } from './steps.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

const STEPS: [step: Step, nth: number][] = [
  ...RUN_STEPS.map((step): [Step, number] => [`run:${step}`, 1]),
  // In the middle of ten charges: some are made, some are not.
  ['charge-begins', 5],
  ['charge-done', 5],
]
const ASKED_AGAIN: Step[] = ['run:settle', 'charge-begins', 'charge-done']
const seed = drawSeed('invoicer crash')
let rig: Rig
let product: Product & { key: string }

beforeAll(async () => {
  rig = createRig()
  product = await rig.start()
})
afterAll(async () => {
  await product.stop()
  await rig.remove()
})

/** reliability.md §2.7 and §3.1 C3, C5, C8; each step with a tenant of its own. */
test.each(STEPS)('killed at %s, the run is resumed and bills as if nothing had happened', async (step, nth) => {
  const name = step.replace(':', '-')
  const opened = await openBillingCrash(product, `crash-${name}`, seed)
  const crashed: CrashedBilling = await crashBillingAt(rig, product, opened, { step, nth })
  product = crashed.product
  expect(crashed.exit).toEqual({ code: null, signal: 'SIGKILL' })
  expect(crashed.reached).toBe(step)
  expect({ runs: crashed.runs, problems: crashed.problems }, `seed ${seed}`).toEqual({
    runs: ['completed'],
    problems: [],
  })
  // Charged and not settled: the gateway is asked again, under the same key (that is among the problems looked for).
  expect(crashed.asked > SUBJECTS.length).toBe(ASKED_AGAIN.includes(step))
  // Once more changes nothing: no invoice, no number, no charge.
  const again = await crashed.billAgain()
  expect(again).toEqual({ run: 'completed', invoicesCreated: 0, problems: [] })
  expect(await apiOf(product.url, opened.key).call('GET', '/dead-letters')).toMatchObject({ dead_letters: [] })
})
