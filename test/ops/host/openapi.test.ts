import { Type } from 'typebox'
import { expect, test } from 'vitest'
import { keyDoor } from '../../../ops/access/doors/keys.ts'
import { tenantDoor } from '../../../ops/access/doors/tenants.ts'
import { withRawBodies } from '../../../ops/host/bodies.ts'
import { serveHealth } from '../../../ops/host/health.ts'
import { createLogger } from '../../../ops/host/logger.ts'
import { missingExamples } from '../../../ops/host/openapi.ts'
import { testHost } from './host.ts'

const config = { permission: 'billing:usage:read' } as const

async function documentOf(addRoutes: (app: Awaited<ReturnType<typeof testHost>>['app']) => void) {
  const { app } = await testHost()
  addRoutes(app)
  const answer = await app.inject({ method: 'GET', url: '/openapi.json' })
  await app.close()
  expect(answer.statusCode).toBe(200)
  return answer.json()
}

test('the document is OpenAPI 3.1, made from the routes, with permission, key and problems on each', async () => {
  const example = { id: 'e-1' }
  const document = await documentOf((app) => {
    tenantDoor(app, { pool: {} as never })
    keyDoor(app, { pool: {} as never, randomBytes: (size) => new Uint8Array(size) })
    serveHealth(app, { checks: [], logger: createLogger({ level: 'silent' }) })
    withRawBodies(app, (scope) => {
      const body = Type.Unsafe<Buffer>({ type: 'object', examples: [example] })
      const consumes = ['application/cloudevents+json', 'application/x-ndjson']
      const response = { 202: Type.Object({ accepted: Type.Integer() }, { examples: [{ accepted: 1 }] }) }
      scope.post('/raw', { config, schema: { body, consumes, response } }, async () => ({ accepted: 1 }))
    })
  })
  expect(document.openapi).toBe('3.1.0')
  expect(document.info).toMatchObject({ title: 'Tallyline', version: '1.2.3' })
  expect(document.components.securitySchemes.key).toMatchObject({ type: 'http', scheme: 'bearer' })
  expect(Object.keys(document.paths).sort()).toEqual([
    '/api/v1/tenants/{slug}',
    '/api/v1/tenants/{slug}/keys',
    '/healthz',
    '/metrics',
    '/openapi.json',
    '/raw',
    '/readyz',
  ])
  const put = document.paths['/api/v1/tenants/{slug}'].put
  expect(put).toMatchObject({ 'x-permission': 'billing:tenants:create', security: [{ key: [] }] })
  expect(document.paths['/healthz'].get).toMatchObject({ 'x-permission': 'public', security: [] })
  for (const methods of Object.values(document.paths)) {
    for (const operation of Object.values(methods as Record<string, { responses: Record<string, object> }>)) {
      for (const status of ['4XX', '5XX'])
        expect(operation.responses[status]).toMatchObject({
          content: { 'application/problem+json': expect.anything() },
        })
    }
  }
  const raw = document.paths['/raw'].post.requestBody.content
  expect(raw['application/cloudevents+json'].example ?? raw['application/cloudevents+json'].schema.examples[0]).toEqual(
    example,
  )
  expect(Object.keys(raw)).toEqual(['application/cloudevents+json', 'application/x-ndjson'])
  expect(missingExamples(document)).toEqual([])
})

test('a body or an answer without an example is found', async () => {
  const document = await documentOf((app) => {
    const body = Type.Object({ name: Type.String() })
    const response = { 201: Type.Object({ name: Type.String() }) }
    app.post('/bare', { config, schema: { body, response } }, async () => ({ name: '' }))
    app.get('/nothing', { config }, async () => ({}))
    app.delete('/empty', { config, schema: { response: { 204: Type.Null() } } }, async () => null)
  })
  expect(missingExamples(document)).toEqual([
    'POST /bare: body application/json',
    'POST /bare: 201',
    'GET /nothing: answer',
  ])
})
