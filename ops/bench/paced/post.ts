import { type Agent, request } from 'node:http'

export type Posted = { status: number; text: string }

/** JSON over a connection of the agent's; without a body it asks. */
export function post(
  agent: Agent,
  url: string,
  key: string,
  body: string | undefined,
  others: Record<string, string> = {},
): Promise<Posted> {
  return new Promise((done, fail) => {
    const told =
      body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const headers = { authorization: `Bearer ${key}`, ...told, ...others }
    const sent = request(url, { method: body === undefined ? 'GET' : 'POST', agent, headers }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', fail)
      response.on('end', () => done({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }))
    })
    sent.on('error', fail)
    sent.end(body)
  })
}
