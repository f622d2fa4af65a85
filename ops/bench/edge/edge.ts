import { join } from 'node:path'
import { type Child, note, startChild } from '../child.ts'
import { ownEnv } from '../database.postgres.ts'
import { ALL_SUBJECTS } from '../events.ts'
import type { Figure } from '../figure.ts'
import { interleave, type Row, type Subject, sample } from '../measure.ts'
import type { RoleInput, RoleStarted } from '../role-process.ts'
import type { LoadSize, LoadTarget } from './load-process.ts'

const PROCESS = 'ingest'
const BATCH = 100
const BATCH_CONNECTIONS = 8
const SINGLE_CONNECTIONS = 32

/** Events over HTTP until they are durable in the log. */
export const edge: Figure = async (input) => {
  const { mode, sizes, folder, servers } = input
  const log = (name: string) => join(folder, `${name}.log`)
  const children = {
    product: startChild(new URL('../role-process.ts', import.meta.url), log('ingest')),
    floor: startChild(new URL('./floor-process.ts', import.meta.url), log('floor')),
    load: startChild(new URL('./load-process.ts', import.meta.url), log('load')),
  }
  try {
    const env = servers ? await ownEnv(servers) : {}
    const roleInput: RoleInput = { role: 'ingest', env, folder: join(folder, 'ingest') }
    const product = await children.product.ask<RoleStarted>('start', roleInput)
    const floor = { url: await children.floor.ask<string>('start'), key: 'none' }
    const { load } = children
    // While the log is empty, one request loads the counters of all subjects: nobody needs to catch up with it.
    await load.ask('make', { requests: 1, eventsPerRequest: 10 * ALL_SUBJECTS.length })
    await load.ask('send', { ...product, connections: 1 })
    const over = (connections: number) => ({
      product: sideOf(load, children.product, { url: product.url, key: product.key, connections }),
      floor: sideOf(load, children.floor, { ...floor, connections }),
    })
    const subject = { mode, floor: 'bare Fastify, one JSON POST route', unit: 'event' } as const
    const target = (cpuUsAtMost: number) => (servers ? { targets: { [PROCESS]: { cpuUsAtMost } } } : {})
    note('batches of 100')
    const batches = await rowsOf(
      { ...subject, ...target(6), figure: 'edge, batch of 100' },
      { requests: sizes.edgeBatches, eventsPerRequest: BATCH },
      over(BATCH_CONNECTIONS),
    )
    note('single events')
    const size = { requests: sizes.edgeSingles, eventsPerRequest: 1 }
    const singles = await rowsOf(
      { ...subject, ...target(60), figure: 'edge, single event' },
      size,
      over(SINGLE_CONNECTIONS),
    )
    return [...batches, ...singles]

    function rowsOf(what: Subject, size: LoadSize, sides: ReturnType<typeof over>): Promise<Row[]> {
      return interleave(what, sizes, async () => {
        await load.ask('make', size)
        const events = size.requests * size.eventsPerRequest
        return { product: () => sides.product(events), floor: () => sides.floor(events) }
      })
    }
  } finally {
    await Promise.all(Object.values(children).map((child) => child.stop()))
  }
}

/** Sends what is made to one of the two, and asks that process alone for its CPU time. */
function sideOf(load: Child, measured: Child, target: LoadTarget) {
  const gauges = { [PROCESS]: () => measured.ask<number>('cpu') }
  return (events: number) => sample(gauges, events, () => load.ask('send', target))
}
