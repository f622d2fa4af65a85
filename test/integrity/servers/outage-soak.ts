import { setTimeout as sleep } from 'node:timers/promises'
import { type Random, randomOf } from '../../support/random.ts'
import { type OutageTenant, type OutageWorld, sendRest, underLoad } from './outage-world.ts'

export type Soak = { names: readonly string[]; kills: number; seed: number }

/** Kills one of the processes at a moment that is drawn, again and again under load; each is started again at once. */
export async function soak({ rig }: OutageWorld, tenant: OutageTenant, { names, kills, seed }: Soak) {
  const random: Random = randomOf(seed)
  const killed: string[] = []
  let bag: string[] = []
  const draw = () => {
    // Each once before any a second time, in an order that is drawn.
    if (bag.length === 0) bag = [...names]
    return bag.splice(random.below(bag.length), 1)[0] ?? ''
  }
  const startsMs: number[] = []
  const { ledger, target } = tenant
  const failedBefore = ledger.failedRequests
  await underLoad(tenant, target, async () => {
    while (killed.length < kills) {
      await sleep(100 + random.below(1_400))
      const name = draw()
      const one = rig.process(name)
      await one.crash()
      killed.push(name)
      const beganMs = performance.now()
      await one.start()
      startsMs.push(Math.round(performance.now() - beganMs))
    }
  })
  await sendRest(tenant, target)
  return { killed, longestStartMs: Math.max(...startsMs), failedRequests: ledger.failedRequests - failedBefore }
}
