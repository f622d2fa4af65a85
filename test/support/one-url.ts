import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import type { Role } from '../../ops/cli/settings.ts'
import { mappedRoutes } from '../ops/deploy/routes.ts'
import { REPOSITORY } from './source-files.ts'

/** Asked for each request: a role may come back at another address. Undefined while it is away. */
export type RoleUrls = { readonly [Name in Role]: string | undefined }

/** The map of the proxy of docker-compose.yml. */
const ROLE_OF = mappedRoutes(readFileSync(join(REPOSITORY, 'ops/deploy/docker/routes.map'), 'utf8')) as Map<
  string,
  Role
>

/** One base URL for three roles, as that proxy gives: 503 for a role that is away, 502 for one that goes away. */
export async function oneUrl(urls: RoleUrls): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer((incoming, outgoing) => {
    const segment = /^\/api\/v1\/([^/?]+)/.exec(incoming.url ?? '')?.[1] ?? ''
    const url = urls[ROLE_OF.get(segment) ?? 'invoicer']
    if (url === undefined) outgoing.writeHead(503).end()
    else forward(new URL(incoming.url ?? '/', url), incoming, outgoing)
  })
  // As the product's own: closed after Node's 5 s, a connection ends under a client that just takes it up again.
  server.keepAliveTimeout = 72_000
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const address = server.address()
  if (!address || typeof address === 'string') throw new Error('The proxy has no port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    close: () =>
      new Promise((closed) => {
        server.close(() => closed())
        server.closeAllConnections()
      }),
  }
}

function forward(target: URL, incoming: IncomingMessage, outgoing: ServerResponse): void {
  const { method, headers } = incoming
  const asked = request(target, { method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
    // An answer that breaks off must not look whole.
    answer.on('error', () => outgoing.destroy())
    answer.pipe(outgoing)
  })
  asked.on('error', () => {
    if (outgoing.headersSent) outgoing.destroy()
    else outgoing.writeHead(502).end()
  })
  outgoing.on('close', () => asked.destroy())
  incoming.pipe(asked)
}
