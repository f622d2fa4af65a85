import type { Child } from '../child.ts'
import type { Fact, Line } from '../fact.ts'
import type { FigureInput } from '../figure.ts'
import { interleave, type Sample, type Subject, sample } from '../measure.ts'
import type { CheckDone, CheckOrder } from './load-process.ts'
import type { Bench } from './quota.ts'

const FIGURE = 'quota, check'
const CONNECTIONS = 64

type Side = { measured: Child } & Pick<CheckOrder, 'url' | 'key' | 'expected'>

/** CPU of one question over HTTP beside its floor, then how long it waits at an even rate. */
export async function measureChecks(input: FigureInput, bench: Bench): Promise<Line[]> {
  const { mode, sizes, servers } = input
  const floor = `bare Fastify, one JSON POST route with one ${servers ? 'Redis GET' : 'read from LMDB'}`
  const targets = servers ? { targets: { ingest: { ratioAtMost: 1.5 } } } : {}
  const subject: Subject = { mode, figure: FIGURE, floor, unit: 'request', ...targets }
  const ours: Side = { measured: bench.product, ...bench.target, expected: '"allowed":true' }
  const bare: Side = { measured: bench.floor, url: bench.floorUrl, key: 'none', expected: '"used":' }
  const send = async ({ measured, url, key, expected }: Side): Promise<Sample> => {
    const gauges = { ingest: () => measured.ask<number>('cpu'), ...(bench.redis ? { Redis: bench.redis.cpuUs } : {}) }
    const order: CheckOrder = { url, key, expected, connections: CONNECTIONS, count: sizes.checks }
    return sample(gauges, sizes.checks, () => bench.checks.ask('send', order))
  }
  const rows = await interleave(subject, sizes, async () => ({ product: () => send(ours), floor: () => send(bare) }))
  return [...rows, ...(await measureWaiting(input, bench, ours))]
}

async function measureWaiting(
  { mode, sizes }: FigureInput,
  { checks }: Bench,
  { url, key, expected }: Side,
): Promise<Fact[]> {
  const { checksPerSecond: perSecond, checkSeconds: seconds } = sizes
  const order: CheckOrder = { url, key, expected, connections: CONNECTIONS, count: perSecond * seconds, perSecond }
  const done = await checks.ask<CheckDone>('send', order)
  const detail = { perSecond: done.perSecond, seconds, checks: order.count, connections: CONNECTIONS }
  const fact = (what: string, value: number, unit: string, target?: string): Fact => {
    return { mode, figure: FIGURE, what, value, unit, detail, ...(target ? { target } : {}) }
  }
  const load = `${perSecond.toLocaleString('en')} requests/s, ${CONNECTIONS} connections, for ${seconds} s`
  return [
    fact(`sustained of ${load}`, done.perSecond, 'requests/s'),
    fact('answered, p50', done.answerMs.p50, 'ms'),
    fact('answered, p99', done.answerMs.p99, 'ms', '< 5 ms'),
    fact('answered, longest', done.answerMs.max, 'ms'),
    // What a pause of anybody holds up counts for every request that was due meanwhile, not for those under way alone.
    fact('answered, p99 since it was due', done.sinceDueMs.p99, 'ms'),
  ]
}
