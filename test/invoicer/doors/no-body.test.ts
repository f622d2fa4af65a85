import { pino } from 'pino'
import { Registry } from 'prom-client'
import { v7 } from 'uuid'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildInvoicer, type Invoicer } from '../../../invoicer/invoicer.ts'
import { buildHost } from '../../../ops/host/server.ts'
import type { App } from '../../../schemas/http/door.ts'
import { PERMISSIONS } from '../../../schemas/http/permissions.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { memoryUsage } from '../support/memory-usage.ts'
import { NO_EVENTS } from '../support/no-events.ts'

let database: TestDatabase
let app: App
let invoicer: Invoicer
beforeAll(async () => {
  database = await createTestDatabase()
  const tenantId = await database.createTenant('one')
  const logger = pino({ level: 'silent' })
  const metrics = new Registry()
  const key = { keyId: 'k', operator: false, permissions: new Set(PERMISSIONS), scope: 'everything' } as const
  const caller = { tenantId, tenantSlug: 'one', ...key }
  app = await buildHost({ logger, metrics, authenticate: async () => caller, version: '0' })
  const sealWait = { pollMs: 10, polls: 10 }
  const usage = memoryUsage([])
  const deps = { app, pool: database.pool, usage, events: NO_EVENTS, logger, metrics, sealWait, cron: undefined }
  invoicer = buildInvoicer({ ...deps, now: () => Date.now(), newId: () => v7() })
  await app.ready()
})
afterAll(async () => {
  await invoicer.stop()
  await app.close()
  await database.drop()
})

const json = { 'content-type': 'application/json' }
test.each<[string, { headers?: Record<string, string>; payload?: string }, number]>([
  ['nothing', {}, 202],
  ['a content type and nothing', { headers: json }, 202],
  ['a content type and a length of 0', { headers: { ...json, 'content-length': '0' } }, 202],
  ['a form, as curl -d "" sends it', { headers: { 'content-type': 'application/x-www-form-urlencoded' } }, 202],
  ['{}', { headers: json, payload: '{}' }, 202],
  ['a member that is not known', { headers: json, payload: '{"asof":"2023-12-01T00:00:00Z"}' }, 400],
  ['null', { headers: json, payload: 'null' }, 400],
  ['broken JSON', { headers: json, payload: '{' }, 400],
  ['a form with content', { headers: { 'content-type': 'application/x-www-form-urlencoded' }, payload: 'a=b' }, 415],
])('a billing run asked for with %s', async (_, request, status) => {
  const answer = await app.inject({
    method: 'POST',
    url: '/api/v1/billing-runs',
    ...request,
    headers: { authorization: 'Bearer x', ...request.headers },
  })
  expect([answer.statusCode, answer.json().state]).toEqual([status, status === 202 ? 'running' : undefined])
})
