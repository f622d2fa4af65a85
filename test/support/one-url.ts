import { createServer, request, type Server } from 'node:http'

/** Which role answers below /api/v1, by the first segment; the invoicer everything else. As routes.map of the proxy. */
const ROLE_OF: Record<string, 'ingest' | 'aggregator'> = {
  events: 'ingest',
  'event-types': 'ingest',
  quota: 'ingest',
  tenants: 'ingest',
  meters: 'aggregator',
  usage: 'aggregator',
  'dead-letters': 'aggregator',
  'event-conflicts': 'aggregator',
}

export type RoleUrls = { ingest: string; aggregator: string; invoicer: string }

/** One base URL for three roles, as the proxy of docker-compose.yml gives. */
export async function oneUrl(urls: RoleUrls): Promise<{ url: string; close(): Promise<void> }> {
  const server: Server = createServer((incoming, outgoing) => {
    const segment = /^\/api\/v1\/([^/?]+)/.exec(incoming.url ?? '')?.[1] ?? ''
    const target = new URL(incoming.url ?? '/', urls[ROLE_OF[segment] ?? 'invoicer'])
    const forward = request(target, { method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    forward.on('error', () => outgoing.destroy())
    incoming.pipe(forward)
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const address = server.address()
  if (!address || typeof address === 'string') throw new Error('The proxy has no port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    close: () => new Promise((closed) => server.close(() => closed())),
  }
}
