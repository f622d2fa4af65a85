import { setTimeout as sleep } from 'node:timers/promises'
import { openClickHouse } from '../../stores/clickhouse-http.clickhouse.ts'
import { note } from '../child.ts'
import { type FigureInput, serversIn } from '../figure.ts'
import { fillSpan } from '../history/fill.clickhouse.ts'
import { spanOf } from '../history/span.ts'
import { rebuildAll } from '../history/world.clickhouse.ts'
import { interleave, type Row, type Sample, type Subject, sample } from '../measure.ts'
import type { LoadDone } from './load-process.ts'
import { LATE_SPREAD_MS, type Shape } from './traffic.ts'
import { countedNow, untilCounted, type World, withWorld } from './world.ts'

const ONCE = { warmUps: 0, rounds: 1 }

export type SideOrder = {
  name: string
  shape: Shape
  perSecond: number
  seconds: number
  /** Events of the day before that are stored and rebuilt when the load begins. */
  history: number
}

/** Both sides, each in a world of its own: one must not rebuild what the other sent. */
export function bothSides(input: FigureInput, subject: Subject, product: SideOrder, floor: SideOrder): Promise<Row[]> {
  const side = (order: SideOrder) => () => withWorld(input, order.name, (world) => runSide(input, order, world))
  return interleave(subject, ONCE, async () => ({ product: side(product), floor: side(floor) }))
}

/** What a load, and all that is rebuilt because of it, took. Fails when anything was lost or counted twice. */
async function runSide(input: FigureInput, order: SideOrder, world: World): Promise<Sample> {
  const { perSecond, seconds, shape, name, history } = order
  if (history > 0) await fillDay(input, world, history)
  const before = await countedNow(world)
  let done: LoadDone | undefined
  const taken = await sample(world.gauges, perSecond * seconds, async () => {
    done = await world.load({ perSecond, seconds, shape })
    await sleep(input.sizes.settleSeconds * 1_000)
  })
  const { events, fresh, perSecond: sustained } = done ?? { events: 0, fresh: 0, perSecond: Number.NaN }
  note(`${name}: ${Math.round(sustained)} events/s were sustained`)
  await untilCounted(world, before + fresh)
  // The rate is that of the load; what came after it is in the CPU.
  const wallMs = (events / sustained) * 1_000
  const readings = Object.entries(taken.readings).map(([process, { cpuUs }]) => [process, { cpuUs, wallMs }])
  return { units: events, readings: Object.fromEntries(readings) as Sample['readings'] }
}

/** A little longer than late ids reach back, so that each of them falls among events. */
async function fillDay(input: FigureInput, world: World, events: number): Promise<void> {
  const store = openClickHouse(serversIn(input).env.CLICKHOUSE_URL)
  try {
    const lengthMs = LATE_SPREAD_MS + 3_600_000
    await fillSpan(store, world.started.tenantId, spanOf(events, Date.now() - lengthMs - 60_000, 0, lengthMs))
    await rebuildAll(store, world.started.tenantId)
  } finally {
    await store.close()
  }
}
