import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { generateKey } from '../../../ops/access/key.ts'
import { createLogger, withoutSecrets } from '../../../ops/host/logger.ts'
import { type TestHost, testHost } from './host.ts'

let host: TestHost
beforeAll(async () => {
  host = await testHost('trace')
  const config = { permission: 'billing:usage:read' } as const
  host.app.post('/echo/:id', { config }, async (request) => request.body)
  host.app.get('/broken', { config }, async (request) => {
    request.log.info({ req: request, res: { statusCode: 200, headers: 'canary' } }, 'as a library would log it')
    throw Object.assign(new Error('broken'), { request, detail: 'canary-detail', parameters: ['canary-parameter'] })
  })
  await host.app.ready()
})
afterAll(() => host.app.close())

test('bodies, keys, headers and query values never reach the log', async () => {
  const { key } = generateKey(randomBytes)
  const headers = { authorization: 'Bearer reader', 'x-canary': 'canary-header', cookie: 'canary-cookie' }
  const payload = { name: 'canary-body', nested: { email: 'canary@example.com' } }
  await host.app.inject({ method: 'POST', url: '/echo/canary-id?token=canary-query', headers, payload })
  await host.app.inject({
    method: 'POST',
    url: '/echo/x',
    headers: { ...headers, 'content-type': 'application/json' },
    payload: '{"canary',
  })
  await host.app.inject({ method: 'GET', url: '/broken?token=canary-query', headers })
  await host.app.inject({ method: 'GET', url: '/canary-path', headers: { authorization: `Bearer ${key}` } })
  await host.app.inject({ method: 'POST', url: '/echo/1', headers: { authorization: `Bearer ${key}` }, payload })
  const all = host.logged.join('')
  expect(all).not.toContain('canary')
  expect(all).not.toContain(key.split('_')[2])
  expect(all).toContain('"route":"/echo/:id"')
})

test('a request leaves one line with what may be known', async () => {
  host.logged.length = 0
  await host.app.inject({ method: 'POST', url: '/echo/1', headers: { authorization: 'Bearer reader' }, payload: {} })
  expect(host.logged.map((line) => JSON.parse(line))).toEqual([
    {
      level: 'debug',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      service: 'tallyline',
      reqId: 'a-request',
      event: 'http_request',
      method: 'POST',
      route: '/echo/:id',
      status: 200,
      ms: expect.any(Number),
      tenant: 'acme',
      message: 'request',
    },
  ])
})

test('keys and passwords of URLs are blanked wherever they stand', () => {
  const lines: string[] = []
  const logger = createLogger({ stream: { write: (line) => lines.push(line) } })
  const { key, publicId } = generateKey(randomBytes)
  logger.warn(
    { error: new Error(`cannot use ${key} at postgres://owner:hunter2@db/x`), url: 'redis://:hunter2@r:6379' },
    key,
  )
  const text = lines.join('')
  expect(text).not.toContain('hunter2')
  expect(text).not.toContain(key)
  expect(text).toContain(`tly_${publicId}_[secret]`)
  expect(JSON.parse(text)).toMatchObject({ error: { type: 'Error', message: expect.stringContaining('cannot use') } })
  expect(withoutSecrets('https://example.com:8080/a@b is kept')).toBe('https://example.com:8080/a@b is kept')
})

test('an unknown LOG_LEVEL is refused by name', () => {
  expect(() => createLogger({ level: 'loud' })).toThrow("LOG_LEVEL is 'loud'")
})
