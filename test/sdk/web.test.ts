import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import fastify, { type FastifyRequest } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import { meterExpress } from '../../sdk/typescript/src/express.ts'
import { meterFastify } from '../../sdk/typescript/src/fastify.ts'
import { createTallyline, type DeadLetter } from '../../sdk/typescript/src/tallyline.ts'
import { quotaModel } from './support/quota-model.ts'
import { scriptedServer } from './support/scripted-server.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

/** A client on real time, and a server with a limit of units. */
function service(limit: number, beforeAnswer = async (): Promise<unknown> => undefined) {
  const model = quotaModel(limit, () => 0)
  const { fetch, sent } = scriptedServer(async (request) => {
    await beforeAnswer()
    return model.answer(request)
  })
  const dead: DeadLetter[] = []
  const tallyline = createTallyline({
    url: 'http://server.test',
    key: 'tly_test',
    fetch,
    lingerMs: 1,
    gzipFromBytes: 1e9,
    onDead: (letter) => dead.push(letter),
  })
  const events = async () => {
    await tallyline.flush()
    return sent.filter(({ path }) => path === '/api/v1/events').flatMap(({ body }) => body as object[])
  }
  /** Urls that reached their handler, where it says so. */
  const handled: string[] = []
  return { tallyline, model, events, dead, handled }
}
const options = ({ tallyline }: ReturnType<typeof service>) => ({
  tallyline,
  type: 'http.request',
  meter: 'requests',
  data: (_request: unknown, { statusCode }: { statusCode: number }) => ({ quantity: 1, status: statusCode }),
})
type Options = Partial<ReturnType<typeof options>> & { counts?: (statusCode: number) => boolean }
type Site = ReturnType<typeof service>

/** Begins while the decision is on its way, as a timeout does, and ends after it. */
function answerEarly(response: ServerResponse): void {
  setImmediate(() => response.writeHead(504).write('too '))
  setTimeout(() => response.end('late'), 200)
}

/** Every framework, the same promises: the server's url answers 200, or 500 below /broken, and never below /slow. */
async function onFastify(site: Site, more: Options = {}): Promise<string> {
  const app = fastify()
  const subject = (request: FastifyRequest) => request.headers['x-customer'] as string | undefined
  app.addHook('preHandler', meterFastify({ ...options(site), ...more, subject }))
  app.addHook('onRequest', async (request, reply) => {
    if (request.url === '/impatient') answerEarly(reply.raw)
  })
  app.get('/', async () => 'done')
  app.get('/impatient', async () => {
    site.handled.push('/impatient')
  })
  app.get('/broken', async () => {
    throw new Error('mine')
  })
  app.get('/slow', () => new Promise(() => undefined))
  closers.push(() => {
    app.server.closeAllConnections()
    return app.close()
  })
  return app.listen({ port: 0, host: '127.0.0.1' })
}

async function onExpress(site: Site, more: Options = {}): Promise<string> {
  const subject = (request: IncomingMessage) => request.headers['x-customer'] as string | undefined
  const metered = meterExpress({ ...options(site), ...more, subject })
  const server: Server = createServer((request: IncomingMessage, response: ServerResponse) => {
    if (request.url === '/impatient') answerEarly(response)
    metered(request, response, () => {
      site.handled.push(request.url ?? '')
      if (request.url === '/slow') return
      response.statusCode = request.url === '/broken' ? 500 : 200
      response.end('done')
    })
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  closers.push(
    () => server.closeAllConnections(),
    () => server.close(),
  )
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Issue 6: middleware that checks before and emits after. */
describe.each([
  ['Fastify', onFastify],
  ['Express', onExpress],
])('%s', (_name, start) => {
  const asCustomer = { headers: { 'x-customer': 'customer-1' } }

  test('a request is counted when its answer is out; the one beyond the limit gets 429', async () => {
    const site = service(2)
    const url = await start(site)
    const answers = []
    for (let n = 0; n < 3; n++) answers.push(await fetch(url, asCustomer))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429])
    expect(answers[2]!.headers.get('content-type')).toContain('application/problem+json')
    expect(await answers[2]!.json()).toMatchObject({ status: 429, code: 'quota_exceeded' })
    await expect.poll(site.events).toMatchObject([
      { subject: 'customer-1', tallyhold: expect.stringMatching(/^lease-/), data: { status: 200 } },
      { subject: 'customer-1', tallyhold: expect.stringMatching(/^lease-/), data: { status: 200 } },
    ])
  })

  test('a request that fails is not counted and draws nothing', async () => {
    const site = service(1)
    const url = await start(site)
    for (let n = 0; n < 3; n++) expect((await fetch(`${url}/broken`, asCustomer)).status).toBe(500)
    await expect.poll(async () => (await fetch(url, asCustomer)).status).toBe(200)
    expect(await site.events()).toHaveLength(1)
  })

  test('a refusal that comes after another answer is left out, and stops nobody', async () => {
    const site = service(0, () => new Promise((resolve) => setTimeout(resolve, 50)))
    const url = await start(site)
    const answer = await fetch(`${url}/impatient`, asCustomer)
    expect([answer.status, await answer.text()]).toEqual([504, 'too late'])
    expect(site.model.leases()).toBeGreaterThan(0)
    expect(site.handled).toEqual([])
    // A rejection that nobody handles would end the run.
    expect((await fetch(url, asCustomer)).status).toBe(429)
  })

  test('an error in `counts` ends in onDead: the request is answered and draws nothing', async () => {
    const site = service(1)
    const counts = () => {
      throw new Error('mine')
    }
    const url = await start(site, { counts })
    for (let n = 1; n <= 2; n++) {
      expect((await fetch(url, asCustomer)).status).toBe(200)
      await expect.poll(() => site.dead).toHaveLength(n)
    }
    expect(site.dead[0]).toMatchObject({ code: 'invalid_event', message: 'mine' })
    expect(await site.events()).toEqual([])
  })

  test('a client that hangs up draws nothing', async () => {
    const site = service(1)
    const url = new URL(await start(site))
    const socket = connect(Number(url.port), url.hostname)
    socket.write('GET /slow HTTP/1.1\r\nhost: here\r\nx-customer: customer-1\r\n\r\n')
    await expect.poll(() => site.model.leases()).toBe(1)
    await new Promise((resolve) => setTimeout(resolve, 50))
    socket.destroy()
    await expect.poll(() => site.tallyline.decide('customer-1', 'requests')?.allowed).toBe(true)
    expect(await site.events()).toEqual([])
  })

  test('a request of nobody in particular is let through', async () => {
    const site = service(0)
    expect((await fetch(await start(site))).status).toBe(200)
    expect(await site.events()).toEqual([])
  })
})
