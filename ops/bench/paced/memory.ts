import { setTimeout as sleep } from 'node:timers/promises'
import type { Fact } from '../fact.ts'
import type { Figure, FigureInput } from '../figure.ts'
import type { Memory } from '../memory-now.ts'
import type { LoadDone } from './load-process.ts'
import { PLAIN } from './traffic.ts'
import { countedNow, untilCounted, type World, withWorld } from './world.ts'

const LOOK_EVERY_MS = 100
const MB = 1024 ** 2
const TARGETS: Record<string, string> = {
  ingest: '< 150 MB',
  aggregator: '< 250 MB',
  'everything embedded': '< 1,200 MB',
}

/** Run from sources, a process holds some 60 MB that it does not when the bench is run from the build. */
const LOADER = import.meta.url.endsWith('.js') ? '' : ' (tsx loader in it)'

/** The most memory that each process held: before the load, under it and, on servers, while ClickHouse is away. */
export const memory: Figure = (input) => withWorld(input, 'memory', (world) => runPhases(input, world))

async function runPhases({ mode, sizes }: FigureInput, world: World): Promise<Fact[]> {
  const { gate } = world
  const before = await countedNow(world)
  const { pacedPerSecond: perSecond, pacedSeconds, awaySeconds } = sizes
  const facts: Fact[] = []
  const watch = async (phase: string, targets: typeof TARGETS, work: () => Promise<LoadDone | undefined>) => {
    const { answer, peaks } = await peaksDuring(world, work)
    const detail = { perSecond: answer?.perSecond ?? 0, refusals: answer?.refusals ?? 0 }
    const fact = (what: string, bytes: number, target?: string) =>
      facts.push({ mode, figure: 'memory', what, value: bytes / MB, unit: 'MB', detail, ...(target ? { target } : {}) })
    for (const [name, { rssBytes, fileBytes }] of Object.entries(peaks)) {
      const what = `${name}, ${phase}${LOADER}`
      fact(what, rssBytes, targets[name])
      fact(`${what}: without pages of mapped files`, rssBytes - fileBytes)
    }
    return answer?.fresh ?? 0
  }
  const load = (seconds: number) => world.load({ perSecond, seconds, shape: PLAIN })
  await watch('idle', {}, async () => void (await sleep(LOOK_EVERY_MS)))
  const rate = `${perSecond.toLocaleString('en')} events/s`
  let fresh = await watch(`${rate} for ${pacedSeconds} s`, TARGETS, () => load(pacedSeconds))
  if (gate) {
    await gate.shut()
    try {
      fresh += await watch(`the same with ClickHouse away for ${awaySeconds} s`, TARGETS, () => load(awaySeconds))
    } finally {
      await gate.open()
    }
  }
  await watch('until all is counted', TARGETS, async () => void (await untilCounted(world, before + fresh)))
  return facts
}

async function peaksDuring<T>(world: World, work: () => Promise<T>) {
  const peaks: Record<string, Memory> = {}
  const look = async () => {
    for (const [name, role] of Object.entries(world.roles)) {
      const now = await role.ask<Memory>('memory')
      if (now.rssBytes > (peaks[name]?.rssBytes ?? 0)) peaks[name] = now
    }
  }
  let working = true
  const looking = (async () => {
    while (working) {
      await look()
      await sleep(LOOK_EVERY_MS)
    }
  })()
  try {
    const answer = await work()
    await look()
    return { answer, peaks }
  } finally {
    working = false
    await looking
  }
}
