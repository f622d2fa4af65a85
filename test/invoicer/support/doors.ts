import Fastify from 'fastify'
import { Registry } from 'prom-client'
import { v7 } from 'uuid'
import { vi } from 'vitest'
import { buildInvoicer, type InvoicerDeps } from '../../../invoicer/invoicer.ts'
import type { App } from '../../../schemas/http/door.ts'
import { PERMISSIONS } from '../../../schemas/http/permissions.ts'
import { Problem, problemDocument } from '../../../schemas/http/problem.ts'
import type { TestDatabase } from '../../support/test-database.ts'
import { memoryUsage } from './memory-usage.ts'
import { NO_EVENTS } from './no-events.ts'

export type Answer = { status: number; body: Record<string, unknown> }

/** The role behind a small HTTP host, whose caller is named by a header or as the key: what ops does with keys. */
export function buildDoors(database: TestDatabase, deps: Partial<InvoicerDeps> = {}) {
  const app = Fastify({ ajv: { customOptions: { removeAdditional: false, coerceTypes: false } } }) as unknown as App
  const permissions: (string | undefined)[] = []
  app.addHook('onRoute', (route) => {
    if (route.method !== 'HEAD') permissions.push(route.config?.permission)
  })
  app.addHook('onRequest', async (request) => {
    const tenantId = Number(request.headers['x-tenant'] ?? request.headers.authorization?.replace('Bearer ', ''))
    const key = { keyId: 'k', operator: false, permissions: new Set(PERMISSIONS), scope: 'everything' } as const
    request.caller = { tenantId, tenantSlug: 't', ...key }
  })
  app.setErrorHandler((error: Error & { validation?: unknown }, _request, reply) => {
    const problem = error instanceof Problem ? error : undefined
    const document = problemDocument(
      problem ?? new Problem(error.validation ? 'invalid_request' : 'internal', error.message),
    )
    return reply.code(document.status).send(document)
  })
  const logger = { info: vi.fn(), error: vi.fn() }
  const metrics = new Registry()
  const invoicer = buildInvoicer({
    app,
    pool: database.pool,
    usage: memoryUsage([]),
    events: NO_EVENTS,
    logger,
    metrics,
    now: () => Date.now(),
    newId: () => v7(),
    cron: undefined,
    sealWait: { pollMs: 10, polls: 500 },
    ...deps,
  })
  const call = async (
    tenantId: number,
    method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE',
    url: string,
    payload?: object,
  ): Promise<Answer> => {
    const headers = { 'x-tenant': String(tenantId) }
    const response = await app.inject({ method, url: `/api/v1${url}`, headers, ...(payload ? { payload } : {}) })
    return { status: response.statusCode, body: response.json() }
  }
  return { app, invoicer, logger, metrics, permissions, call }
}
