import type { Line } from '../fact.ts'
import type { Figure } from '../figure.ts'
import { bothSides } from './sides.ts'
import { PLAIN } from './traffic.ts'

const LATE_SHARE = 0.01

/** One id in a hundred is of some time in the last 24 hours: each of them lets a shard be rebuilt. */
export const late: Figure = async (input) => {
  const { mode, sizes } = input
  const lines: Line[] = []
  for (const history of sizes.lateHistories) {
    const order = { perSecond: sizes.pacedPerSecond, seconds: sizes.pacedSeconds, history }
    const among = history === 0 ? 'no history' : `${history.toLocaleString('en')} events of that day`
    const load = `${order.perSecond.toLocaleString('en')} events/s for ${order.seconds} s`
    const figure = `late ids, 1 % over 24 h, ${load}, ${among}`
    const subject = { mode, figure, floor: 'the same load without late ids', unit: 'event' } as const
    const product = { ...order, name: `late-${history}`, shape: { ...PLAIN, lateShare: LATE_SHARE } }
    const floor = { ...order, name: `prompt-${history}`, shape: PLAIN }
    lines.push(...(await bothSides(input, subject, product, floor)))
  }
  return lines
}
