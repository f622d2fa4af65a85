import { Agent } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { answerParent } from '../child.ts'
import { type Spread, spreadOf } from '../percentile.ts'
import { keepPace } from './pacing.ts'
import { post } from './post.ts'
import { createTraffic, type Shape } from './traffic.ts'

export type LoadOrder = { url: string; key: string; perSecond: number; seconds: number; shape: Shape }
/** `fresh`: distinct identities. `perSecond`: what was really sustained, from the first request to the last answer. */
export type LoadDone = { events: number; fresh: number; perSecond: number; refusals: number; answerMs: Spread }

const EVENTS_PER_REQUEST = 100
const CONNECTIONS = 16
const AGAIN_AFTER_MS = 200
/** So many refusals of one request in a row, a minute of them, are no load but a product that is away. */
const MOST_REFUSALS = 300

/** Sends until every body is accepted: one that is refused because something is full or away is sent again. */
async function send({ url, key, perSecond, seconds, shape }: LoadOrder): Promise<LoadDone> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
  const traffic = createTraffic(shape)
  const answerMs: number[] = []
  let fresh = 0
  let refusals = 0
  const sendOne = async () => {
    const body = traffic.next(EVENTS_PER_REQUEST, Date.now())
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
  const count = Math.ceil((perSecond * seconds) / EVENTS_PER_REQUEST)
  const startedMs = performance.now()
  try {
    const pace = { perSecond: perSecond / EVENTS_PER_REQUEST, count, atATime: CONNECTIONS }
    await keepPace(pace, { now: () => performance.now(), sleep }, sendOne)
  } finally {
    agent.destroy()
  }
  const events = count * EVENTS_PER_REQUEST
  const tookMs = performance.now() - startedMs
  return { events, fresh, perSecond: (events / tookMs) * 1_000, refusals, answerMs: spreadOf(answerMs) }
}

answerParent({ send: (order) => send(order as LoadOrder) })
