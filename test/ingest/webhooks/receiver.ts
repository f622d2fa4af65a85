import { webcrypto } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Delivery = { method: string; path: string; headers: IncomingHttpHeaders; body: string }
export type Receiver = {
  url: string
  /** In the order in which they came. */
  deliveries: Delivery[]
  /** The data of those that came, by type, each webhook-id once. */
  events(): { id: string; type: string; timestamp: string; data: Record<string, unknown> }[]
  close(): Promise<void>
}
/** What becomes of the nth request, from 0: a status, or whatever it does with the answer. */
export type Answering = (place: number, response: ServerResponse) => number | undefined

/** Somebody else's server, on 127.0.0.1. */
export async function openReceiver(answering: Answering = () => 204): Promise<Receiver> {
  const deliveries: Delivery[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => {
      body += part
    })
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request
      const status = answering(deliveries.push({ method, path, headers, body }) - 1, response)
      if (status !== undefined) response.writeHead(status).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?a=1`,
    deliveries,
    events: () => {
      const byId = new Map(deliveries.map(({ headers, body }) => [String(headers['webhook-id']), JSON.parse(body)]))
      return [...byId].map(([id, event]) => ({ id, ...event }))
    },
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/**
 * Verifies a delivery as the specification tells receivers to (Standard Webhooks 1.0), with another implementation of
 * the signature than the product's.
 */
export async function isSigned({ headers, body }: Delivery, secret: string, nowMs: number): Promise<boolean> {
  const [id, timestamp, signatures] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) =>
    String(headers[name]),
  ) as [string, string, string]
  if (!/^\d+$/.test(timestamp) || Math.abs(Number(timestamp) - nowMs / 1000) > 300 || id.includes('.')) return false
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const bytes = Uint8Array.from(atob(secret.replace(/^whsec_/, '')), (char) => char.charCodeAt(0))
  const key = await webcrypto.subtle.importKey('raw', bytes, algorithm, false, ['verify'])
  const signed = new TextEncoder().encode(`${id}.${timestamp}.${body}`)
  for (const signature of signatures.split(' ')) {
    const [version, text = ''] = signature.split(',')
    const given = Uint8Array.from(atob(text), (char) => char.charCodeAt(0))
    if (version === 'v1' && (await webcrypto.subtle.verify('HMAC', key, given, signed))) return true
  }
  return false
}
