import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'

export type Seen = { method: string; path: string; headers: IncomingMessage['headers']; body: unknown }
export type Answer = { status: number; body?: unknown; headers?: Record<string, string> } | 'hang up'

/** A server that records what it is asked and says what the test tells it to: no product, only its outside. */
export async function startFake(answer: (seen: Seen, requestIndex: number) => Answer) {
  const requests: Seen[] = []
  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const bytes = Buffer.concat(chunks)
    const text = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes).toString()
    const seen = {
      method: request.method ?? '',
      path: (request.url ?? '').replace('/api/v1', ''),
      headers: request.headers,
      body: text === '' ? undefined : (JSON.parse(text) as unknown),
    }
    requests.push(seen)
    const given = answer(seen, requests.length - 1)
    if (given === 'hang up') return void request.socket.destroy()
    response.writeHead(given.status, { 'content-type': 'application/json', ...given.headers })
    response.end(JSON.stringify(given.body ?? {}))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, stop }
}

export function problem(status: number, code: string, more: object = {}): Answer {
  const document = {
    type: `https://tallyline.dev/problems/${code}`,
    title: code,
    status,
    code,
    detail: `the ${code}`,
    retryable: false,
  }
  return { status, body: { ...document, ...more } }
}

/** Answers of a product in which the demo goes well; every customer's invoice is the same canned one. */
export function wellBehaved({ method, path, body }: Seen): Answer {
  if (path.endsWith('/keys')) return { status: 201, body: { key: 'tly_tenant' } }
  if (path === '/events') {
    const outcomes = (body as { id: string }[]).map(({ id }, index) => ({ index, id, outcome: 'accepted' }))
    return { status: 202, body: { accepted: outcomes.length, outcomes } }
  }
  if (path === '/billing-runs') return { status: 202, body: { id: 'run-1', state: 'running', step: 'seal' } }
  if (path === '/billing-runs/run-1')
    return { status: 200, body: { id: 'run-1', state: 'completed', parked: [], error: null } }
  if (path.startsWith('/invoices?')) {
    const second = path.includes('after=')
    const ids = second ? [5, 6, 7, 8, 9] : [4, 3, 2, 1, 0]
    return {
      status: 200,
      body: { invoices: ids.map((id) => ({ id: `invoice-${id}` })), next: second ? null : 'page 2' },
    }
  }
  if (path.startsWith('/invoices/'))
    return { status: 200, body: cannedInvoice(path.slice('/invoices/invoice-'.length)) }
  return { status: method === 'PUT' ? 200 : 201, body: {} }
}

function cannedInvoice(id: string) {
  const line = (index: number, description: string, meter: string | null, quantity: string | null, amount: string) => ({
    index,
    description,
    meter,
    quantity,
    events: meter && 1,
    amount,
  })
  return {
    id: `invoice-${id}`,
    number: `INV-00000${id}`,
    state: 'paid',
    customer: { id: `uuid-${id}`, external_key: `customer-${id}` },
    currency: 'USD',
    period_start: '2025-03-01T00:00:00.000Z',
    period_end: '2025-04-01T00:00:00.000Z',
    lines: [
      line(2, 'Generated tokens', 'generated_tokens', '9007199254740993', '5.29'),
      line(0, 'Base fee', null, null, '20.00'),
      line(1, 'Context tokens', 'context_tokens', '2182292', '6.55'),
    ],
    total: '31.84',
  }
}
