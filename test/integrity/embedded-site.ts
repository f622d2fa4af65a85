import type { Exit } from '../support/product.ts'
import type { Rig } from './kill-nine.ts'
import type { Mortal, Site } from './mortal.ts'
import { arm, reached } from './steps.ts'

export type EmbeddedSite = Site & Mortal & { stop(): Promise<Exit> }

/** The embedded product: one process, which is all there is to die. Where each life's clock begins, `beginsAt` says. */
export async function openEmbeddedSite(
  rig: Rig,
  beginsAt: () => number | undefined = () => undefined,
): Promise<EmbeddedSite> {
  let product = await rig.start(beginsAt())
  return {
    url: () => product.url,
    key: product.key,
    ask: rig.ask,
    book: rig.book,
    arm: (place) => arm(rig.control, place),
    reached: () => reached(rig.control),
    exited: () => product.exited,
    start: async () => {
      product = await rig.start(beginsAt())
    },
    stop: () => product.stop(),
  }
}
