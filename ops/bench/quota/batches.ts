import type { LoadSize, LoadTarget } from '../edge/load-process.ts'
import { ALL_SUBJECTS } from '../events.ts'
import type { Line } from '../fact.ts'
import type { FigureInput } from '../figure.ts'
import { interleave, type Sample, type Subject, sample } from '../measure.ts'
import { addedFact } from './added.ts'
import type { Bench } from './quota.ts'

const BATCH = 100
const CONNECTIONS = 8
const FLOOR = 'the same batches of subjects without a limit'
/** Of as many subjects is a batch. */
const SUBJECTS = [1, ALL_SUBJECTS.length]

/** The same batches of events by those who have a limit and by those who have none, and the difference. */
export async function measureBatches({ mode, sizes }: FigureInput, bench: Bench): Promise<Line[]> {
  const { product, target, events, redis } = bench
  const gauges = { ingest: () => product.ask<number>('cpu'), ...(redis ? { Redis: redis.cpuUs } : {}) }
  const { url, key } = target
  const to: LoadTarget = { url, key, connections: CONNECTIONS }
  const send = async (prefix: string, count: number): Promise<Sample> => {
    const size: LoadSize = { requests: sizes.quotaBatches, eventsPerRequest: BATCH, subjects: { prefix, count } }
    await events.ask('make', size)
    return sample(gauges, sizes.quotaBatches * BATCH, () => events.ask('send', to))
  }
  const lines: Line[] = []
  for (const count of SUBJECTS) {
    const figure = `quota, batch of ${BATCH}, ${count === 1 ? 'one subject' : `${count} subjects`}`
    const subject: Subject = { mode, figure, floor: FLOOR, unit: 'event' }
    const rows = await interleave(subject, sizes, async () => ({
      product: () => send('customer', count),
      floor: () => send('stranger', count),
    }))
    lines.push(...rows, ...rows.map((row) => addedFact(row, '≤ 1.5 µs')))
  }
  return lines
}
