import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { RUN_STEPS } from '../../invoicer/billing/run/steps.ts'
import { type EmbeddedSite, openEmbeddedSite } from './embedded-site.ts'
import { createRig, type Rig } from './kill-nine.ts'
import {
  APRIL_MS,
  awaitPurchase,
  buyCredit,
  changeInApril,
  comeInApril,
  expectedInvoices,
  MAY_MS,
  type MoneyTenant,
  moneyProblems,
  readMoney,
} from './money-world.ts'
import { dieAt } from './mortal.ts'
import { awaitRun, readRunIds, runBilling } from './read-product.ts'
import { arm, reached } from './steps.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 900_000, hookTimeout: 240_000 })

const HOUR_MS = 3_600_000
const KILLED = { code: null, signal: 'SIGKILL' }
const PURCHASE_STEPS = ['charge-begins', 'charge-done'] as const

let rig: Rig
let site: EmbeddedSite
/** Behind it the next life's clock begins. */
let clockMs = APRIL_MS
const nextLifeMs = () => {
  clockMs += HOUR_MS
  return clockMs
}
const tenants = new Map<string, MoneyTenant>()
const tenantOf = (name: string) => tenants.get(name)!

beforeAll(async () => {
  rig = createRig()
  site = await openEmbeddedSite(rig, nextLifeMs)
  for (const name of ['run', ...PURCHASE_STEPS]) tenants.set(name, await comeInApril(site, `money-${name}`))
  await goOnAt(APRIL_MS + 15 * 24 * HOUR_MS)
  tenants.set('run', await changeInApril(tenantOf('run')))
  await awaitPurchase(site, tenantOf('run'))
})
afterAll(async () => {
  await site.stop()
  await rig.remove()
})

async function goOnAt(ms: number): Promise<void> {
  await site.stop()
  clockMs = ms
  await site.start()
}

/** Issue 7: automatic top-up; billing-rules "Credits, tax, payments": never a retry with a new key. */
test.each(PURCHASE_STEPS)(
  'killed at %s of a purchase, it is charged under one key and its credit is there once',
  async (step) => {
    const world = tenantOf(step)
    expect(await dieAt(site, step, () => buyCredit(world))).toEqual({ exit: KILLED, reached: step })
    await site.start()
    const asked = step === 'charge-done' ? ['6000', '6000'] : ['6000']
    expect(await awaitPurchase(site, world)).toEqual([{ state: 'paid', asked }])
    const { credits } = await world.tenant().call<{ credits: object[] }>('GET', '/customers/cat/credits')
    expect(credits).toMatchObject([{ amount: '60.00', remaining: '60.00' }])
  },
)

/** Issue 7, EPIC-3: fees in advance with an upgrade, a wallet, credit that was bought, a coupon of limited cycles. */
test('a run that is killed at each of its steps, one after the other, counts fees, credit, coupons and charges once', async () => {
  const world = tenantOf('run')
  await goOnAt(MAY_MS)
  const [first, ...later] = RUN_STEPS
  const open = async () => {
    // The answer may be lost with the process: the run is there all the same.
    await world
      .tenant()
      .send('POST', '/billing-runs', {})
      .catch(() => undefined)
  }
  expect(await dieAt(site, `run:${first}`, open)).toEqual({ exit: KILLED, reached: `run:${first}` })
  // The next life continues it by itself, and dies where it gets further.
  for (const step of later) {
    arm(rig.control, { step: `run:${step}` })
    expect({ step, exit: await rig.launch(nextLifeMs()).exited }).toEqual({ step, exit: KILLED })
    expect(reached(rig.control)).toBe(`run:${step}`)
  }
  await site.start()
  for (const { id } of await readRunIds(site.ask, world.tenantId)) {
    expect(await awaitRun(world.tenant(), id)).toMatchObject({ state: 'completed', parked: [] })
  }
  expect((await readMoney(world.tenant())).shown).toEqual(expectedInvoices(world).toSorted())
  expect(await moneyProblems(site, world)).toEqual([])
  // Once more changes nothing: no invoice, no cycle of the coupon, no credit, no charge.
  expect(await runBilling(world.tenant())).toMatchObject({ state: 'completed', invoices_created: 0 })
  expect((await readMoney(world.tenant())).shown).toEqual(expectedInvoices(world).toSorted())
  expect(await moneyProblems(site, world)).toEqual([])
})
