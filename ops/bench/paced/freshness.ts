import type { Fact } from '../fact.ts'
import type { Figure, FigureInput } from '../figure.ts'
import { spreadOf } from '../percentile.ts'
import { probeWhile } from './probes.ts'
import { PLAIN } from './traffic.ts'
import { countedNow, untilCounted, type World, withWorld } from './world.ts'

const COPY_SHARE = 0.01

/** From acknowledged to visible in a usage answer, under load of which every hundredth event is a copy. */
export const freshness: Figure = (input) => withWorld(input, 'freshness', (world) => measure(input, world))

async function measure({ mode, sizes }: FigureInput, world: World): Promise<Fact[]> {
  const { pacedPerSecond: perSecond, pacedSeconds: seconds } = sizes
  const before = await countedNow(world)
  const loading = world.load({ perSecond, seconds, shape: { ...PLAIN, copyShare: COPY_SHARE } })
  const seen = await probeWhile(world, loading)
  const done = await loading
  await untilCounted(world, before + done.fresh + seen.sent)
  const answered = spreadOf(seen.answeredMs)
  const begun = spreadOf(seen.begunMs)
  const asked = spreadOf(seen.queryMs)
  const detail = { perSecond: done.perSecond, seconds, events: done.events, fresh: done.fresh, probes: answered.count }
  const fact = (what: string, value: number, unit: string, target?: string): Fact => {
    return { mode, figure: 'freshness', what, value, unit, detail, ...(target ? { target } : {}) }
  }
  const load = `${perSecond.toLocaleString('en')} events/s for ${seconds} s, 1 % copies`
  return [
    fact(`sustained of ${load}`, done.perSecond, 'events/s', `${perSecond.toLocaleString('en')} events/s`),
    fact('acknowledged → in an answer, p50', answered.p50, 'ms'),
    fact('acknowledged → in an answer, p99', answered.p99, 'ms', '< 2,000 ms'),
    fact('acknowledged → in an answer, longest', answered.max, 'ms'),
    fact('acknowledged → a question begins that sees it, p99', begun.p99, 'ms'),
    fact('the question itself, p50', asked.p50, 'ms'),
    fact('the question itself, p99', asked.p99, 'ms'),
    fact('request of 100 events → acknowledged, p99', done.answerMs.p99, 'ms'),
  ]
}
