import { randomUUID } from 'node:crypto'
import { type FastifyBaseLogger, fastify, LogController } from 'fastify'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { App } from '../../schemas/http/door.ts'
import { type Authenticate, requirePermissions } from './auth.ts'
import { acceptJson, JSON_BODY_LIMIT } from './bodies.ts'
import { serveMetrics } from './metrics.ts'
import { serveOpenapi } from './openapi.ts'
import { sendNotFound, sendProblem } from './problems.ts'
import { validatorCompiler } from './validation.ts'

export type HostDeps = {
  logger: Logger
  metrics: Registry
  authenticate: Authenticate
  /** Of the product, for /openapi.json. */
  version: string
  requestId?: () => string
}

/**
 * The HTTP application that doors add their routes to, with /openapi.json and /metrics on it. Add the doors at once
 * and health last, then `listen`; a route without a permission throws where it is added.
 */
export async function buildHost(deps: HostDeps): Promise<App> {
  const app: App = fastify({
    loggerInstance: deps.logger as FastifyBaseLogger,
    // Fastify's own request lines would show the URL with its query; logRequests writes what may be shown.
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: deps.requestId ?? (() => randomUUID()),
    requestIdHeader: false,
    trustProxy: false,
    bodyLimit: JSON_BODY_LIMIT,
    requestTimeout: 60_000,
    keepAliveTimeout: 72_000,
    // While closing, requests on open connections are still answered, each with `connection: close`.
    return503OnClosing: false,
    routerOptions: { maxParamLength: 300 },
    frameworkErrors: (error, request, reply) => {
      sendProblem(error, request, reply)
    },
  })
  app.setValidatorCompiler(validatorCompiler)
  app.setErrorHandler((error, request, reply) => sendProblem(error, request, reply))
  app.setNotFoundHandler(sendNotFound)
  acceptJson(app)
  logRequests(app)
  closeIdleConnections(app)
  requirePermissions(app, deps.authenticate)
  await serveOpenapi(app, deps.version)
  serveMetrics(app, deps.metrics)
  return app
}

/** A connection that was busy when the close began would idle until its keep-alive ends, and hold the close up. */
function closeIdleConnections(app: App): void {
  app.addHook('preClose', async () => {
    if (!app.server.listening) return
    const sweep = setInterval(() => app.server.closeIdleConnections(), 50)
    app.server.once('close', () => clearInterval(sweep))
    sweep.unref()
  })
}

/** One line a request: method, route pattern, status, ms, tenant. At debug unless we failed: a flood must not flood the log. */
function logRequests(app: App): void {
  app.addHook('onResponse', (request, reply, done) => {
    const status = reply.statusCode
    request.log[status < 500 ? 'debug' : 'info'](
      {
        event: 'http_request',
        method: request.method,
        route: request.routeOptions.url ?? null,
        status,
        ms: Math.round(reply.elapsedTime * 100) / 100,
        tenant: request.caller?.tenantSlug,
      },
      'request',
    )
    done()
  })
}
