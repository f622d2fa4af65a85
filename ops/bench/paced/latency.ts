import type { Fact } from '../fact.ts'
import type { Figure, FigureInput } from '../figure.ts'
import { PLAIN } from './traffic.ts'
import { countedNow, untilCounted, type World, withWorld } from './world.ts'

const CONNECTIONS = 64

/** How long a request of one event waits for its answer, with quota, durable, at half the rate that is aimed at. */
export const latency: Figure = (input) => withWorld(input, 'latency', (world) => measure(input, world))

async function measure({ mode, sizes }: FigureInput, world: World): Promise<Fact[]> {
  const { singlesPerSecond: perSecond, singlesSeconds: seconds } = sizes
  const order = { perSecond, seconds, shape: PLAIN, eventsPerRequest: 1, connections: CONNECTIONS }
  const before = await countedNow(world)
  // Once for what is compiled and filled at first.
  const warmUp = await world.load(order)
  const { answerMs, fresh, events, perSecond: sustained } = await world.load(order)
  await untilCounted(world, before + warmUp.fresh + fresh)
  const detail = { perSecond: sustained, seconds, events, connections: CONNECTIONS }
  const fact = (what: string, value: number, unit: string, target?: string): Fact => {
    return { mode, figure: 'latency, single event', what, value, unit, detail, ...(target ? { target } : {}) }
  }
  const load = `${perSecond.toLocaleString('en')} requests/s, ${CONNECTIONS} connections, for ${seconds} s`
  return [
    fact(`sustained of ${load}`, sustained, 'requests/s'),
    fact('answered, p50', answerMs.p50, 'ms'),
    fact('answered, p99', answerMs.p99, 'ms', '< 15 ms'),
    fact('answered, longest', answerMs.max, 'ms'),
  ]
}
