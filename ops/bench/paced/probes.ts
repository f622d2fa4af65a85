import { Agent } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { EVENT_TYPE, METERS, SOURCE } from '../events.ts'
import { askUsage } from './ask-usage.ts'
import { post } from './post.ts'
import { uuidV7 } from './traffic.ts'
import type { World } from './world.ts'

/** From the moment an event was acknowledged until a usage answer that counts it began, and until it was there. */
export type Seen = { begunMs: number[]; answeredMs: number[]; queryMs: number[]; sent: number }

const PROBE_EVERY_MS = 200
const ASK_EVERY_MS = 250
const SEEN_WITHIN_MS = 120_000

/** Events of subjects of their own, one after the other, while `during` runs; then until the last of them was seen. */
export async function probeWhile(world: World, during: Promise<unknown>): Promise<Seen> {
  const agent = new Agent({ keepAlive: true })
  const acknowledged = new Map<string, number>()
  const seen: Seen = { begunMs: [], answeredMs: [], queryMs: [], sent: 0 }
  let sending = true
  const end = () => {
    sending = false
  }
  void during.then(end, end)
  const send = async () => {
    while (sending) {
      const subject = `probe-${seen.sent}`
      const { status } = await post(agent, `${world.started.url}/api/v1/events`, world.started.key, probeOf(subject))
      if (status === 202) {
        seen.sent++
        acknowledged.set(subject, performance.now())
      }
      await sleep(PROBE_EVERY_MS)
    }
  }
  try {
    await Promise.all([send().finally(end), look(world, acknowledged, seen, () => sending)])
  } finally {
    agent.destroy()
  }
  return seen
}

async function look(world: World, acknowledged: Map<string, number>, seen: Seen, sending: () => boolean) {
  let lastSeenMs = performance.now()
  while (sending() || acknowledged.size > 0) {
    const waiting = [...acknowledged.keys()]
    if (waiting.length > 0) {
      const begunMs = performance.now()
      const told = await askUsage(world, { meter: METERS[0] ?? '', subjects: waiting, groupBy: 'subject' })
      const answeredMs = performance.now()
      seen.queryMs.push(answeredMs - begunMs)
      for (const subject of told.subjects) {
        const knownMs = acknowledged.get(subject) ?? answeredMs
        acknowledged.delete(subject)
        seen.begunMs.push(Math.max(begunMs - knownMs, 0))
        seen.answeredMs.push(answeredMs - knownMs)
        lastSeenMs = answeredMs
      }
      if (answeredMs - lastSeenMs > SEEN_WITHIN_MS)
        throw new Error(`${waiting.length} acknowledged events are not seen`)
    }
    await sleep(ASK_EVERY_MS)
  }
}

function probeOf(subject: string): string {
  const nowMs = Date.now()
  const data = { context_tokens: 1, generated_tokens: 1 }
  const time = new Date(nowMs).toISOString()
  return JSON.stringify({
    specversion: '1.0',
    id: uuidV7(nowMs),
    source: SOURCE,
    type: EVENT_TYPE,
    subject,
    time,
    data,
  })
}
