import type { Fact } from '../fact.ts'
import { median, type Row } from '../measure.ts'

/** What one side takes beyond the other: the middle of the rounds' differences. What disturbs a round disturbs both. */
export function addedFact({ mode, figure, process, samples }: Row, target: string): Fact {
  const addedUs = samples.map(({ product, floor }) => product.cpuUs / product.units - floor.cpuUs / floor.units)
  const what = `added by quota to an event, CPU of ${process}`
  return { mode, figure, what, value: median(addedUs), unit: 'µs', target, detail: { addedUs } }
}
