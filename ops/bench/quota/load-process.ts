import { Agent } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { answerParent } from '../child.ts'
import { ALL_SUBJECTS } from '../events.ts'
import { dueAtMs, keepPace } from '../paced/pacing.ts'
import { post } from '../paced/post.ts'
import { type Spread, spreadOf } from '../percentile.ts'
import { checkBody } from './check-body.ts'

export type CheckOrder = {
  url: string
  key: string
  /** Stands in every answer. */
  expected: string
  connections: number
  count: number
  /** As many as are answered when not given. */
  perSecond?: number
}
export type CheckDone = { perSecond: number; answerMs: Spread /** From when each was due. */; sinceDueMs: Spread }

const BODIES = ALL_SUBJECTS.map((subject) => checkBody([subject]))

/** Asks so often, of one subject after the other. Anything but the expected answer is an error. */
async function send({ url, key, expected, connections, count, perSecond }: CheckOrder): Promise<CheckDone> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const pace = { perSecond: perSecond ?? Number.POSITIVE_INFINITY, count, atATime: connections }
  const answerMs: number[] = []
  const sinceDueMs: number[] = []
  const startedMs = performance.now()
  const ask = async (place: number) => {
    const sentMs = performance.now()
    const { status, text } = await post(agent, `${url}/api/v1/quota/check`, key, BODIES[place % BODIES.length] ?? '')
    const answeredMs = performance.now()
    if (status !== 200 || !text.includes(expected)) throw new Error(`${url} answered ${status}: ${text.slice(0, 500)}`)
    answerMs.push(answeredMs - sentMs)
    sinceDueMs.push(answeredMs - startedMs - dueAtMs(place, pace.perSecond))
  }
  try {
    await keepPace(pace, { now: () => performance.now(), sleep }, ask)
  } finally {
    agent.destroy()
  }
  const tookMs = performance.now() - startedMs
  return { perSecond: (count / tookMs) * 1_000, answerMs: spreadOf(answerMs), sinceDueMs: spreadOf(sinceDueMs) }
}

answerParent({ send: (order) => send(order as CheckOrder) })
