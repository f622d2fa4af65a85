import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ROLES, type Role } from '../../../ops/cli/settings.ts'
import { stackPort } from '../../../ops/stack/ports.ts'
import { missingPrograms } from '../../../ops/stack/programs.ts'
import { REPOSITORY } from '../../support/source-files.ts'
import { repositoryFile } from './compose.ts'
import { type NameServer, startNameServer } from './name-server.ts'
import { mappedRoutes } from './routes.ts'

/** The ports of the proxy's configuration; each stand-in has an address of its own, as a container has. */
const PORTS: Record<Role, number> = { ingest: 8081, aggregator: 8082, invoicer: 8083 }
type StandIn = { address: string; ready: boolean; server: Server }

const folder = mkdtempSync(join(tmpdir(), 'tallyline-proxy-'))
const standIns: Record<Role, StandIn[]> = { ingest: [], aggregator: [], invoicer: [] }
let names: NameServer
let proxy: ChildProcess
let url: string
let log = ''

beforeAll(async () => {
  const missing = missingPrograms([
    { name: 'haproxy', debianPackage: 'haproxy', for: 'The proxy of docker-compose.yml' },
  ])
  if (missing.length > 0) throw new Error(missing.join('\n'))
  names = await startNameServer()
  for (const role of ROLES) await addStandIn(role)
  const port = await stackPort()
  url = `http://127.0.0.1:${port}`
  // As it stands but for where it listens, whom it asks for names, and where the map lies.
  const config = repositoryFile('ops/deploy/docker/haproxy.cfg')
    .replace('bind :8081', `bind 127.0.0.1:${port}`)
    .replace('127.0.0.11:53', `127.0.0.1:${names.port}`)
    .replace('/usr/local/etc/haproxy/', `${REPOSITORY}/ops/deploy/docker/`)
  writeFileSync(join(folder, 'haproxy.cfg'), config)
  proxy = spawn('haproxy', ['-db', '-f', join(folder, 'haproxy.cfg')], { stdio: ['ignore', 'pipe', 'pipe'] })
  for (const stream of [proxy.stdout, proxy.stderr]) stream?.on('data', (bytes) => (log += String(bytes)))
  await eventually(async () => expect((await get('/readyz')).status).toBe(200))
})

afterAll(async () => {
  proxy?.kill('SIGKILL')
  for (const one of Object.values(standIns).flat()) one.server.closeAllConnections()
  await Promise.all(Object.values(standIns).flatMap((all) => all.map(({ server }) => server.close())))
  await names?.close()
  rmSync(folder, { recursive: true, force: true })
})

test('every route of the map reaches its role, whole', async () => {
  for (const [segment, role] of mappedRoutes(repositoryFile('ops/deploy/docker/routes.map'))) {
    for (const path of [`/api/v1/${segment}`, `/api/v1/${segment}/a%2Fb?x=1&y=%20`]) {
      expect(await (await get(path)).json(), path).toMatchObject({ role, path })
    }
  }
})

test('the doors in the words of others reach theirs, by method where two roles share a path', async () => {
  for (const [method, path, role] of [
    ['POST', '/openmeter/api/v1/events', 'ingest'],
    ['GET', '/openmeter/api/v1/events?limit=1', 'aggregator'],
    ['POST', '/openmeter/api/v1/meters', 'aggregator'],
    ['GET', '/openmeter/api/v1/meters/a_b/query?subject=x&subject=y', 'aggregator'],
    ['POST', '/openmeter/api/v1/subjects', 'aggregator'],
    ['POST', '/usage/track', 'ingest'],
  ] as const) {
    const answer = await fetch(`${url}${path}`, { method, headers: { connection: 'close' } })
    expect(await answer.json(), `${method} ${path}`).toMatchObject({ role, path, method })
  }
  for (const path of ['/openmeter', '/openmeter/metrics', '/usage', '/usage/track/x']) {
    expect((await get(path)).status, path).toBe(404)
  }
})

test('a body and an authorization arrive, and an answer’s status and headers come back', async () => {
  const body = 'x'.repeat(2 * 1024 * 1024)
  const answer = await fetch(`${url}/api/v1/events`, { method: 'POST', body, headers: { authorization: 'Bearer t' } })
  expect(answer.status).toBe(202)
  expect(answer.headers.get('x-role')).toBe('ingest')
  expect(await answer.json()).toMatchObject({ method: 'POST', bytes: body.length, authorization: 'Bearer t' })
})

test('a path that only begins alike, or that nobody knows, is the invoicer’s to refuse', async () => {
  for (const path of ['/api/v1/eventsx', '/api/v1/', '/api/v1/unknown/events']) {
    expect(await (await get(path)).json(), path).toMatchObject({ role: 'invoicer' })
  }
})

test('each role’s description is there, and nothing outside the API', async () => {
  for (const role of ROLES) {
    expect(await (await get(`/${role}/openapi.json`)).json()).toMatchObject({ role, path: '/openapi.json' })
  }
  for (const path of ['/metrics', '/openapi.json', '/ingest/metrics', '/', '/x/api/v1/events']) {
    const answer = await get(path)
    expect(answer.status, path).toBe(404)
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(await answer.json()).toMatchObject({ code: 'not_found', retryable: false })
  }
})

test('a second process gets its share, and none once it is gone', async () => {
  const second = await addStandIn('ingest')
  await eventually(async () => expect(await whoAnswers(20)).toContain(second.address))
  await stopStandIn('ingest', second)
  // Nobody notices: a refused connection is tried elsewhere.
  expect(await whoAnswers(40)).toEqual([standIns.ingest[0]?.address])
})

test('a role that is not ready still answers, and /readyz names it', async () => {
  const [aggregator] = standIns.aggregator
  if (!aggregator) throw new Error('no aggregator')
  aggregator.ready = false
  await eventually(async () => expect((await get('/readyz')).status).toBe(503))
  expect(await (await get('/readyz')).json()).toEqual({
    status: 'unavailable',
    checks: [
      { name: 'ingest', ok: true },
      { name: 'aggregator', ok: false },
      { name: 'invoicer', ok: true },
    ],
  })
  expect((await get('/healthz')).status).toBe(200)
  expect((await get('/api/v1/usage')).status).toBe(202)
  aggregator.ready = true
  await eventually(async () => expect((await get('/readyz')).status).toBe(200))
})

test('a role that is away is a problem document, and the other roles go on', async () => {
  const [invoicer] = standIns.invoicer
  if (!invoicer) throw new Error('no invoicer')
  await stopStandIn('invoicer', invoicer)
  const answer = await get('/api/v1/invoices')
  expect(answer.status).toBe(503)
  expect(answer.headers.get('retry-after')).toBe('1')
  expect(answer.headers.get('content-type')).toBe('application/problem+json')
  expect(await answer.json()).toMatchObject({ code: 'unavailable', retryable: true })
  expect((await get('/api/v1/usage')).status).toBe(202)
  await addStandIn('invoicer')
  await eventually(async () => expect((await get('/api/v1/invoices')).status).toBe(202))
})

test('its log tells of failures without saying what was asked', async () => {
  await eventually(async () => expect(log).toContain('status=503'))
  expect(log).not.toContain('/api/v1')
})

const get = (path: string) => fetch(`${url}${path}`, { headers: { connection: 'close' } })

async function whoAnswers(requests: number): Promise<string[]> {
  const seen = new Set<string>()
  for (let i = 0; i < requests; i++) {
    const answer = await get('/api/v1/events')
    expect(answer.status).toBe(202)
    seen.add(((await answer.json()) as { address: string }).address)
  }
  return [...seen]
}

/** Starts a stand-in for a process of the role and makes it known by name. */
async function addStandIn(role: Role): Promise<StandIn> {
  const address = `127.0.${20 + ROLES.indexOf(role)}.${1 + standIns[role].length}`
  const standIn: StandIn = { address, ready: true, server: createServer() }
  standIn.server.on('request', async (request, response) => {
    let bytes = 0
    for await (const chunk of request) bytes += (chunk as Buffer).length
    const { method, url: path, headers } = request
    const status = path === '/readyz' && !standIn.ready ? 503 : 202
    const code = path === '/healthz' || (path === '/readyz' && status === 202) ? 200 : status
    response.writeHead(code, { 'content-type': 'application/json', 'x-role': role })
    response.end(JSON.stringify({ role, address, method, path, bytes, authorization: headers.authorization }))
  })
  await new Promise<void>((listening) => standIn.server.listen(PORTS[role], address, listening))
  standIns[role].push(standIn)
  tellNames(role)
  return standIn
}

async function stopStandIn(role: Role, standIn: StandIn): Promise<void> {
  standIns[role].splice(standIns[role].indexOf(standIn), 1)
  const closed = new Promise((done) => standIn.server.close(done))
  standIn.server.closeAllConnections()
  await closed
  // Docker's name server forgets a container a moment after it went: until then the address leads nowhere.
  setTimeout(() => tellNames(role), 300)
}

function tellNames(role: Role): void {
  names.names.set(
    role,
    standIns[role].map((one) => one.address),
  )
}

async function eventually(check: () => Promise<void>): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return await check()
    } catch (error) {
      if (tries > 100) throw new Error(`${(error as Error).message}\n${log}`)
      await sleep(100)
    }
  }
}
