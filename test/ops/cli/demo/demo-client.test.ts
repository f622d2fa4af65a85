import { Type } from 'typebox'
import { expect, onTestFinished, test } from 'vitest'
import { createDemoClient, problemOf } from '../../../../ops/cli/demo/demo-client.ts'
import { forEachInFlight, postTrace } from '../../../../ops/cli/demo/post-trace.ts'
import { type Answer, problem, type Seen, startFake, wellBehaved } from './fake-product.ts'

const rows = [0, 1, 2].map((rowIndex) => ({
  rowIndex,
  timeMs: Date.UTC(2025, 2, 1),
  contextTokens: 1,
  generatedTokens: 2,
}))

async function clientOf(answer: (seen: Seen, requestIndex: number) => Answer) {
  const fake = await startFake(answer)
  onTestFinished(fake.stop)
  const pauses: number[] = []
  const pauseMs = (attempt: number, retryAfterMs: number) => {
    pauses.push(retryAfterMs)
    return attempt / 1000
  }
  return {
    client: createDemoClient({ url: `${fake.url}/`, apiKey: 'tly_key', pauseMs }),
    requests: fake.requests,
    pauses,
  }
}

test('503, a retryable 429 and a broken connection are tried again with the same body', async () => {
  const refusals: Answer[] = [
    { status: 503, body: {}, headers: { 'retry-after': '2' } },
    problem(429, 'slow_down', { retryable: true }),
    'hang up',
    problem(503, 'overloaded'),
  ]
  const { client, requests, pauses } = await clientOf((seen, index) => refusals[index] ?? wellBehaved(seen))
  await postTrace(client, rows, () => undefined)
  expect(requests).toHaveLength(5)
  expect(new Set(requests.map(({ body }) => JSON.stringify(body))).size).toBe(1)
  expect(pauses).toEqual([2000, 0, 0, 0])
  expect(requests[0]!.headers).toMatchObject({ authorization: 'Bearer tly_key', 'content-encoding': 'gzip' })
  expect((requests[0]!.body as unknown[])[1]).toEqual({
    specversion: '1.0',
    id: 'row-1',
    source: 'demo',
    type: 'llm.request',
    subject: 'customer-1',
    time: '2025-03-01T00:00:00.000Z',
    data: { context_tokens: 1, generated_tokens: 2 },
  })
})

test('it gives up after a bounded number of attempts', async () => {
  const { client, requests } = await clientOf(() => problem(503, 'unavailable'))
  await expect(client.call({ method: 'GET', path: '/plans' }, Type.Unknown())).rejects.toThrow(
    'GET /plans was answered with 503 unavailable: the unavailable (gave up after 8 attempts)',
  )
  expect(requests).toHaveLength(8)
})

test('a final refusal is an error with code, detail and the first place', async () => {
  const { client, requests } = await clientOf(() =>
    problem(400, 'invalid_request', { errors: [{ path: '/name', message: 'is missing' }] }),
  )
  const error: unknown = await client.call({ method: 'PUT', path: '/x', body: {} }, Type.Unknown()).catch((e) => e)
  expect((error as Error).message).toBe(
    'PUT /x was answered with 400 invalid_request: the invalid_request (/name: is missing)',
  )
  expect(problemOf(error)?.code).toBe('invalid_request')
  expect(requests).toHaveLength(1)
})

test('nobody listening is a sentence', async () => {
  const client = createDemoClient({ url: 'http://127.0.0.1:9', apiKey: 'k', pauseMs: () => 0 })
  await expect(client.call({ method: 'GET', path: '/plans' }, Type.Unknown())).rejects.toThrow(
    /^No answer to GET \/plans from http:\/\/127.0.0.1:9: .+ \(gave up after 8 attempts\)$/,
  )
})

test('an answer of another shape is refused', async () => {
  const { client } = await clientOf(() => ({ status: 200, body: { key: 5 } }))
  await expect(client.call({ method: 'GET', path: '/x' }, Type.Object({ key: Type.String() }))).rejects.toThrow(
    /form that the demo does not know/,
  )
})

test('an abort ends the attempts', async () => {
  const fake = await startFake(() => problem(503, 'unavailable'))
  onTestFinished(fake.stop)
  const abort = new AbortController()
  const client = createDemoClient({ url: fake.url, apiKey: 'k', signal: abort.signal, pauseMs: () => 60_000 })
  const call = client.call({ method: 'GET', path: '/x' }, Type.Unknown())
  setTimeout(() => abort.abort(), 50)
  await expect(call).rejects.toThrow(/abort/)
})

const outcomesOf = (third: object) => ({
  outcomes: [
    { index: 0, outcome: 'accepted' },
    { index: 1, outcome: 'duplicate' },
    { index: 2, ...third },
  ],
})

test.each([
  ['in a 202', (outcomes: object): Answer => ({ status: 202, body: outcomes })],
  ['in a problem document', (outcomes: object): Answer => problem(400, 'events_refused', outcomes)],
])('one outcome that is not accepted or duplicate is an error with the event in it, %s', async (_, answer) => {
  const refused = outcomesOf({ outcome: 'rejected', code: 'event_too_old', message: 'the event is too old' })
  const { client } = await clientOf(() => answer(refused))
  await expect(postTrace(client, rows, () => undefined)).rejects.toThrow(
    'Event row-2 was not taken: rejected event_too_old the event is too old',
  )
})

test('fewer outcomes than events are an error', async () => {
  const { client } = await clientOf(() => ({ status: 202, body: { outcomes: [{ index: 0, outcome: 'accepted' }] } }))
  await expect(postTrace(client, rows, () => undefined)).rejects.toThrow(
    '3 events were posted, but 1 outcomes came back.',
  )
})

test('work in flight is bounded, and ends before a failure is thrown', async () => {
  let running = 0
  let most = 0
  let begun = 0
  const work = forEachInFlight([...Array(50).keys()], 4, async (item) => {
    begun++
    most = Math.max(most, ++running)
    await new Promise((resolve) => setTimeout(resolve, 2))
    running--
    if (item === 9) throw new Error('item 9')
  })
  await expect(work).rejects.toThrow('item 9')
  expect({ running, most }).toEqual({ running: 0, most: 4 })
  expect(begun).toBeLessThan(16)
})
