import { RUN_STEPS } from '../../../invoicer/billing/run/steps.ts'
import { eventually } from '../../support/product.ts'
import { type OpenedBilling, openRun } from '../crash-billing.ts'
import { type Crash, dieAt } from '../mortal.ts'
import type { Place, Step } from '../steps.ts'
import type { RoleProcess } from './role-process.ts'

/** Two invoicers. API requests go to the first while it lives. */
export type Runners = [first: RoleProcess, second: RoleProcess]

/** Both work on one run and go from step to step together: neither begins one before the other one has got there. */
export async function runInStep(runners: Runners, billing: OpenedBilling): Promise<void> {
  await meetAt(runners, billing, 'run:open')
  for (const step of RUN_STEPS.slice(1)) {
    for (const runner of runners) runner.hold(`run:${step}`)
    await allWait(runners, `run:${step}`)
  }
  for (const runner of runners) runner.release()
}

export type Parting = { meet: Step; dies: Place; waits: Step }

/** From where they meet both go on; the first dies on its way, the second waits where that keeps nothing from the first. */
export async function partAt(runners: Runners, billing: OpenedBilling, { meet, dies, waits }: Parting): Promise<Crash> {
  const [first, second] = runners
  await meetAt(runners, billing, meet)
  const crash = await dieAt(first, dies, async () => second.hold(waits))
  await allWait([second], waits)
  second.release()
  return crash
}

/** The second takes the run up as it starts: it cannot know that the first one lives. */
async function meetAt([first, second]: Runners, billing: OpenedBilling, step: Step): Promise<void> {
  first.hold(step)
  await openRun(billing)
  await allWait([first], step)
  second.hold(step)
  await second.restart()
  await allWait([first, second], step)
}

async function allWait(runners: readonly RoleProcess[], step: Step): Promise<void> {
  const places = await eventually(
    async () => runners.map((runner) => runner.reached()),
    (seen) => seen.every((one) => one === step),
    60_000,
  )
  if (places.some((one) => one !== step)) throw new Error(`Not all wait at ${step}: they are at ${places.join(', ')}`)
}
