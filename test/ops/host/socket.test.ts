import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { testHost } from './host.ts'

const config = { permission: 'billing:usage:read' } as const
const headers = { authorization: 'Bearer reader', 'content-type': 'application/json' }

test('closing answers the request that is running, and takes no new connection', async () => {
  const { app } = await testHost()
  let finish: (value: object) => void = () => undefined
  let began = false
  app.post('/slow', { config }, () => {
    began = true
    return new Promise<object>((resolve) => {
      finish = resolve
    })
  })
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const running = fetch(`${address}/slow`, { method: 'POST', headers, body: '{}' })
  await expect.poll(() => began).toBe(true)
  const closed = app.close()
  await expect
    .poll(() =>
      fetch(`${address}/healthz`).then(
        () => 'answered',
        () => 'refused',
      ),
    )
    .toBe('refused')
  finish({ done: true })
  expect(await (await running).json()).toEqual({ done: true })
  await closed
})

test('an upload that breaks off is not our failure', async () => {
  const { app, logged } = await testHost()
  app.post('/things', { config }, async () => ({}))
  let failure: string | undefined
  app.addHook('onError', async (_request, _reply, error) => {
    failure = error.code
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const upload = request({
    port,
    host: '127.0.0.1',
    method: 'POST',
    path: '/things',
    headers: { ...headers, 'content-length': 100 },
  })
  upload.on('error', () => undefined)
  upload.write('{"name":', () => setTimeout(() => upload.destroy(), 50))
  await expect.poll(() => failure).toBe('ECONNRESET')
  expect(logged.map((line) => JSON.parse(line).level).filter((level) => level !== 'info')).toEqual([])
  await app.close()
})
