import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { openGate } from '../../../ops/bench/paced/gate.ts'

test('behind a gate that is shut a server is away, and back when it opens', async () => {
  const server = createServer((_, response) => response.end('there'))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const gate = await openGate(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const ask = async () => (await fetch(gate.url)).text()
  expect(await ask()).toBe('there')
  await gate.shut()
  await expect(ask()).rejects.toThrow('fetch failed')
  await gate.open()
  expect(await ask()).toBe('there')
  await gate.close()
  server.closeAllConnections()
  await new Promise((done) => server.close(done))
})
