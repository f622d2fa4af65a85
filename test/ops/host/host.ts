import { Registry } from 'prom-client'
import { createLogger } from '../../../ops/host/logger.ts'
import { buildHost } from '../../../ops/host/server.ts'
import type { App, Caller } from '../../../schemas/http/door.ts'

export type TestHost = { app: App; logged: string[]; metrics: Registry }

/** Three keys: `reader` may read usage, `operator` may make tenants, `impostor` has that permission and is no operator. */
export async function testHost(level = 'debug'): Promise<TestHost> {
  const logged: string[] = []
  const metrics = new Registry()
  const logger = createLogger({ level, stream: { write: (line) => logged.push(line) } })
  const callers = new Map<string | undefined, Caller>([
    ['Bearer reader', caller('reader', ['billing:usage:read'], false)],
    ['Bearer operator', caller('operator', ['billing:tenants:create'], true)],
    ['Bearer impostor', caller('impostor', ['billing:tenants:create'], false)],
  ])
  const app = await buildHost({
    logger,
    metrics,
    authenticate: async (header) => callers.get(header),
    version: '1.2.3',
    requestId: () => 'a-request',
  })
  return { app, logged, metrics }
}

function caller(
  keyId: string,
  permissions: Caller['permissions'] extends ReadonlySet<infer P> ? P[] : never,
  operator: boolean,
): Caller {
  return { tenantId: 7, tenantSlug: 'acme', keyId, operator, permissions: new Set(permissions), scope: 'everything' }
}
