import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { gunzipSync } from 'node:zlib'

export type EventServer = {
  url: string
  /** The forms in which each id arrived while the server was up; one form each, if all is well. */
  received: Map<string, Set<string>>
  /** While false it answers 503. */
  setUp: (up: boolean) => void
  close: () => Promise<void>
}

/** A real server on a port of its own that keeps what it is sent. */
export async function eventServer(): Promise<EventServer> {
  const received = new Map<string, Set<string>>()
  let up = true
  const server = createServer(async (request, response) => {
    const bytes = await buffer(request)
    if (!up) {
      response.writeHead(503).end()
      return
    }
    const text = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes).toString()
    const events = JSON.parse(text) as { id: string }[]
    const outcomes = events.map((event, index) => {
      const forms = received.get(event.id) ?? new Set()
      received.set(event.id, forms.add(JSON.stringify(event)))
      return { index, id: event.id, outcome: 'accepted' }
    })
    response.writeHead(202, { 'content-type': 'application/json' }).end(JSON.stringify({ outcomes }))
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    setUp: (now) => {
      up = now
    },
    close: () =>
      new Promise((closed) => {
        server.close(() => closed())
        server.closeAllConnections()
      }),
  }
}
