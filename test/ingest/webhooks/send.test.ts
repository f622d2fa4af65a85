import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { resolverOf } from '../../../ingest/webhooks/resolve.ts'
import { publicLookup, sendOnce } from '../../../ingest/webhooks/send.http.ts'
import { openNameServer } from './name-server.ts'
import { type Answering, openReceiver, type Receiver } from './receiver.ts'

const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

async function receiver(answering?: Answering): Promise<Receiver> {
  const one = await openReceiver(answering)
  open.push(one)
  return one
}

const BODY = '{"type":"webhook.test","data":{"a":"é"}}'
const post = (url: string) => ({ url, headers: { 'webhook-id': 'e-1' }, body: BODY })
const send = (url: string, timeoutMs = 30_000) => sendOnce(post(url), { allowPrivate: true, timeoutMs })

/** A server that is no HTTP server: says something as soon as it is connected to, and goes on. */
async function rawServer(talk: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    talk(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push({
    close: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

describe('one attempt', () => {
  test('is a POST of the body as it is, with its length, and is well if the answer is 2xx', async () => {
    for (const status of [200, 202, 204, 299]) {
      const { url, deliveries } = await receiver(() => status)
      expect(await send(url)).toBeUndefined()
      expect(deliveries).toMatchObject([
        {
          method: 'POST',
          path: '/hook?a=1',
          body: BODY,
          headers: { 'content-type': 'application/json', 'webhook-id': 'e-1' },
        },
      ])
      expect(deliveries[0]?.headers['content-length']).toBe(String(Buffer.byteLength(BODY)))
    }
  })

  test.each([300, 400, 401, 404, 410, 429, 500, 503])('failed if the answer is %i', async (status) => {
    const { url } = await receiver(() => status)
    expect(await send(url)).toBe(`answered ${status}`)
  })

  test('follows no redirect', async () => {
    const elsewhere = await receiver()
    const { url, deliveries } = await receiver((_place, response) => {
      response.writeHead(307, { location: elsewhere.url }).end()
      return undefined
    })
    expect(await send(url)).toBe('answered 307')
    expect([deliveries.length, elsewhere.deliveries.length]).toEqual([1, 0])
  })

  test('tells in a word why there was no answer', async () => {
    const gone = await receiver()
    await gone.close()
    open.pop()
    expect(await send(gone.url)).toBe('ECONNREFUSED')
    expect(await send(await rawServer((socket) => socket.resetAndDestroy()))).toBe('ECONNRESET')
    expect(await send(await rawServer((socket) => socket.end('nonsense\r\n\r\n')))).toMatch(/^HPE_|ECONNRESET/)
    expect(await send('http://nowhere.invalid/')).toMatch(/^(ENOTFOUND|EAI_AGAIN)$/)
  })

  test.each([
    ['that switches protocols', 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'],
    ['that does so and says to what', 'HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nmore'],
  ])('ends with a receiver %s, which no request asked for: no tenant waits for ever', async (_name, answer) => {
    let closed: () => void = () => undefined
    const isClosed = new Promise<void>((done) => {
      closed = done
    })
    const url = await rawServer((socket) => {
      socket.once('data', () => socket.write(answer)).on('close', () => closed())
    })
    expect(await send(url)).toBe('answered 101')
    await isClosed
  })

  test('ends in time with a receiver that says nothing, or never comes to an end', async () => {
    const { url } = await receiver(() => undefined)
    expect(await send(url, 200)).toBe('no answer in time')
    const slow = await rawServer((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n')
      const timer = setInterval(() => socket.write('x: y\r\n'), 20)
      socket.on('close', () => clearInterval(timer))
    })
    expect(await send(slow, 300)).toMatch(/^(no answer in time|HPE_HEADER_OVERFLOW)$/)
  })

  test('does not read a body without an end: the status is the answer', async () => {
    let sent = 0
    const endless = await rawServer((socket) => {
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
      const more = () => {
        while (!socket.destroyed && sent < 2 ** 28) {
          sent += 65_536
          if (!socket.write(`10000\r\n${'x'.repeat(65_536)}\r\n`)) {
            socket.once('drain', more)
            return
          }
        }
      }
      more()
    })
    expect(await send(endless)).toBeUndefined()
    expect(sent).toBeLessThan(2 ** 26)
  })
})

/** SSRF: what a tenant names as its receiver must not reach what lies around the product. */
describe('where private addresses are not allowed', () => {
  const refused = (url: string) => sendOnce(post(url), { allowPrivate: false })

  test('addresses in the URL, plain http, and names of private addresses are not connected to', async () => {
    const { url, deliveries } = await receiver()
    const { port } = new URL(url)
    for (const host of ['127.0.0.1', '[::1]', '2130706433', '[::ffff:127.0.0.1]'])
      expect(await refused(`https://${host}:${port}/`)).toBe('ADDRESS_NOT_ALLOWED')
    const server = await openNameServer({ 4: ['127.0.0.1'] })
    open.push(server)
    const lookup = publicLookup(resolverOf([server.address]))
    const inside = await sendOnce(post(`https://inside.example:${port}/`), { allowPrivate: false, lookup })
    expect(inside).toBe('ADDRESS_NOT_ALLOWED')
    expect(await refused(url)).toBe('ADDRESS_NOT_ALLOWED')
    expect(deliveries).toEqual([])
  })

  test('names that only this host knows are not connected to', async () => {
    let connected = 0
    const { port } = new URL(await rawServer(() => connected++))
    expect(await refused(`https://localhost:${port}/`)).toMatch(/^(ADDRESS_NOT_ALLOWED|E[A-Z]+|no answer in time)$/)
    expect(connected).toBe(0)
  })

  test('a name that was public and is private when it is connected to (DNS rebinding) is not connected to', async () => {
    let connected = 0
    const url = await rawServer(() => connected++)
    const answers = [['8.8.8.8'], ['127.0.0.1'], ['8.8.8.8', '127.0.0.1'], ['::1'], []]
    const asked: string[] = []
    const lookup = publicLookup((hostname, done) => {
      asked.push(hostname)
      const addresses = (answers[asked.length] ?? []).map((address) => ({
        address,
        family: address.includes(':') ? 6 : 4,
      }))
      done(null, addresses)
    })
    const https = `https://rebinding.example:${new URL(url).port}/`
    const sent = [1, 2, 3, 4].map(() => sendOnce(post(https), { allowPrivate: false, lookup }))
    expect(await Promise.all(sent)).toEqual([...Array(3).fill('ADDRESS_NOT_ALLOWED'), 'ENOTFOUND'])
    expect([connected, asked.length]).toEqual([0, 4])
  })

  test('what is connected to is what was looked at', async () => {
    const lookup = publicLookup((_hostname, done) => done(null, [{ address: '8.8.8.8', family: 4 }]))
    const looked = (all: boolean) => new Promise((done) => lookup('a.example', { all }, (...answer) => done(answer)))
    expect(await looked(true)).toEqual([null, [{ address: '8.8.8.8', family: 4 }]])
    expect(await looked(false)).toEqual([null, '8.8.8.8', 4])
    const failing = publicLookup((_hostname, done) => done(Object.assign(new Error('x'), { code: 'EAI_AGAIN' }), []))
    expect(await sendOnce(post('https://a.example/'), { allowPrivate: false, lookup: failing })).toBe('EAI_AGAIN')
  })
})
