import { afterAll, beforeAll, expect, test } from 'vitest'
import { drawSeed } from '../support/random.ts'
import { SUBJECTS } from './catalog.ts'
import { ASKED_AGAIN, BILLING_STEPS, billAgain, crashBillingAt, openBilling } from './crash-billing.ts'
import { type EmbeddedSite, openEmbeddedSite } from './embedded-site.ts'
import { createRig, type Rig } from './kill-nine.ts'

// A bound against hanging, not a promise: other work may share the machine.
const seed = drawSeed('invoicer crash')
let rig: Rig
let site: EmbeddedSite

beforeAll(async () => {
  rig = createRig()
  site = await openEmbeddedSite(rig)
})
afterAll(async () => {
  await site.stop()
  await rig.remove()
})

/** reliability.md §2.7 and §3.1 C3, C5, C8; each step with a tenant of its own. */
test.each(BILLING_STEPS)('killed at %s, the run is resumed and bills as if nothing had happened', async (step, nth) => {
  const name = step.replace(':', '-')
  const billing = await openBilling(site, `crash-${name}`, seed)
  const crashed = await crashBillingAt(site, billing, { step, nth })
  expect(crashed.exit).toEqual({ code: null, signal: 'SIGKILL' })
  expect(crashed.reached).toBe(step)
  expect({ runs: crashed.runs, problems: crashed.problems }, `seed ${seed}`).toEqual({
    runs: ['completed'],
    problems: [],
  })
  // Charged and not settled: the gateway is asked again, under the same key (that is among the problems looked for).
  expect(crashed.asked > SUBJECTS.length).toBe(ASKED_AGAIN.includes(step))
  // Once more changes nothing: no invoice, no number, no charge.
  expect(await billAgain(billing)).toEqual({ run: 'completed', invoicesCreated: 0, problems: [] })
  expect(await billing.tenant().call('GET', '/dead-letters')).toMatchObject({ dead_letters: [] })
})
