import { Agent } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { answerParent } from '../child.ts'
import { type Spread, spreadOf } from '../percentile.ts'
import { keepPace } from './pacing.ts'
import { post } from './post.ts'
import { createTraffic, type Shape } from './traffic.ts'

export type LoadOrder = {
  url: string
  key: string
  /** Events. */
  perSecond: number
  seconds: number
  shape: Shape
  /** 100 when not given. */
  eventsPerRequest?: number
  /** 16 when not given. */
  connections?: number
}
/** `fresh`: distinct identities. `perSecond`: what was really sustained, from the first request to the last answer. */
export type LoadDone = { events: number; fresh: number; perSecond: number; refusals: number; answerMs: Spread }

const AGAIN_AFTER_MS = 200
/** So many refusals of one request in a row, a minute of them, are no load but a product that is away. */
const MOST_REFUSALS = 300

/** Sends until every body is accepted: one that is refused because something is full or away is sent again. */
async function send(order: LoadOrder): Promise<LoadDone> {
  const { url, key, perSecond, seconds, shape, eventsPerRequest = 100, connections = 16 } = order
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const traffic = createTraffic(shape)
  const answerMs: number[] = []
  let fresh = 0
  let refusals = 0
  const sendOne = async () => {
    const body = traffic.next(eventsPerRequest, Date.now())
    fresh += body.fresh
    for (let tries = 0; ; tries++) {
      const startedMs = performance.now()
      const { status, text } = await post(agent, `${url}/api/v1/events`, key, body.text)
      if (status === 202) return void answerMs.push(performance.now() - startedMs)
      if (status !== 503 || tries === MOST_REFUSALS) throw new Error(`${url} answered ${status}: ${text.slice(0, 500)}`)
      refusals++
      await sleep(AGAIN_AFTER_MS)
    }
  }
  const count = Math.ceil((perSecond * seconds) / eventsPerRequest)
  const startedMs = performance.now()
  try {
    const pace = { perSecond: perSecond / eventsPerRequest, count, atATime: connections }
    await keepPace(pace, { now: () => performance.now(), sleep }, sendOne)
  } finally {
    agent.destroy()
  }
  const events = count * eventsPerRequest
  const tookMs = performance.now() - startedMs
  return { events, fresh, perSecond: (events / tookMs) * 1_000, refusals, answerMs: spreadOf(answerMs) }
}

answerParent({ send: (order) => send(order as LoadOrder) })
