import { Agent, request } from 'node:http'
import { v7 } from 'uuid'
import { answerParent } from '../child.ts'
import { dataOf, EVENT_TYPE, SOURCE, subjectOf } from '../events.ts'

export type LoadSize = {
  requests: number
  eventsPerRequest: number
  /** One after the other, in place of the usual ones. */
  subjects?: { prefix: string; count: number }
}
export type LoadTarget = { url: string; key: string; connections: number }

let bodies: Buffer[] = []
let eventsPerRequest = 1

/** Bodies are ready before the clock starts, and both sides get the same. */
function make(size: LoadSize): void {
  const { subjects } = size
  const time = new Date().toISOString()
  const event = (index: number) => ({
    specversion: '1.0',
    id: v7(),
    source: SOURCE,
    type: EVENT_TYPE,
    subject: subjects ? `${subjects.prefix}-${index % subjects.count}` : subjectOf(index),
    time,
    data: dataOf(index),
  })
  eventsPerRequest = size.eventsPerRequest
  bodies = Array.from({ length: size.requests }, (_, request) => {
    const first = request * eventsPerRequest
    const events = Array.from({ length: eventsPerRequest }, (_, index) => event(first + index))
    return Buffer.from(JSON.stringify(eventsPerRequest === 1 ? events[0] : events))
  })
}

/** Sends every body once, over so many connections that stay open. Anything but full acceptance is an error. */
async function send({ url, key, connections }: LoadTarget): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const authorization = `Bearer ${key}`
  let next = 0
  const sender = async () => {
    for (let body = bodies[next++]; body; body = bodies[next++]) {
      const answer = await post(agent, `${url}/api/v1/events`, authorization, body)
      if (answer.status !== 202 || !answer.text.includes(`"accepted":${eventsPerRequest}`))
        throw new Error(`${url} answered ${answer.status}: ${answer.text.slice(0, 500)}`)
    }
  }
  try {
    await Promise.all(Array.from({ length: connections }, sender))
  } finally {
    agent.destroy()
  }
}

function post(
  agent: Agent,
  url: string,
  authorization: string,
  body: Buffer,
): Promise<{ status: number; text: string }> {
  return new Promise((done, fail) => {
    const headers = { authorization, 'content-type': 'application/json', 'content-length': body.length }
    const sent = request(url, { method: 'POST', agent, headers }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', fail)
      response.on('end', () => done({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }))
    })
    sent.on('error', fail)
    sent.end(body)
  })
}

answerParent({ make: (size) => make(size as LoadSize), send: (target) => send(target as LoadTarget) })
