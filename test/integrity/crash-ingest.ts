import { openEmbeddedSite } from './embedded-site.ts'
import { createRig } from './kill-nine.ts'
import { type Crash, dieAt } from './mortal.ts'
import type { Plant, Step } from './steps.ts'
import { openTraffic, type TrafficWorld } from './traffic-world.ts'

const EVENTS_PER_STEP = 400

/** The embedded product with one tenant that goes through crashes. */
export type CrashWorld = TrafficWorld & {
  /** Events arrive until the process dies at the step; then it is started again. */
  crashAt: (step: Step, provoke?: () => Promise<void>) => Promise<Crash>
  stop: () => Promise<unknown>
  remove: () => Promise<void>
}

export async function openCrashWorld(seed: number, plant?: Plant): Promise<CrashWorld> {
  const rig = createRig(plant)
  const site = await openEmbeddedSite(rig)
  const traffic = await openTraffic(site, 'crash-steps', seed)
  return {
    ...traffic,
    // Steps of ingest die within the first request; the others some time after the last one.
    crashAt: async (step, provoke = () => traffic.sendUntilSilent(EVENTS_PER_STEP)) => {
      const crash = await dieAt(site, step, provoke)
      await site.start()
      return crash
    },
    compareIdentities: async () => {
      await site.stop()
      return traffic.compareIdentities()
    },
    stop: () => site.stop(),
    remove: () => rig.remove(),
  }
}
