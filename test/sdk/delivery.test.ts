import { describe, expect, test } from 'vitest'
import { clientOf } from './support/client.ts'
import { acceptAll, outcomes } from './support/scripted-server.ts'

const away = () => {
  throw new TypeError('fetch failed')
}

/** Issue 6: retry with full jitter and the same ids; 4xx to a dead-letter callback; outcomes by index are honoured. */
describe('delivery', () => {
  test('a server that is away is asked ever less often, and gets the same bytes', async () => {
    const { clock, sent, emit, tallyline } = clientOf((_, index) => (index < 4 ? away() : acceptAll(sent[index]!)))
    emit(2)
    const atMs: number[] = []
    for (let ms = 0; ms < 10_000; ms += 50) {
      await clock.pass(50)
      while (atMs.length < sent.length) atMs.push(ms + 50)
    }
    // The linger of 200 ms, then waits of 200, 400, 800 and 1,600 ms.
    expect(atMs).toEqual([200, 400, 800, 1_600, 3_200])
    expect(new Set(sent.map(({ text }) => text)).size).toBe(1)
    expect(tallyline.stats()).toMatchObject({ accepted: 2, retried: 8, sent: 10, latestError: 'fetch failed' })
  })

  test('Retry-After is waited for', async () => {
    const { clock, sent, emit } = clientOf((request, index) =>
      index === 0 ? { status: 429, headers: { 'retry-after': '7' } } : acceptAll(request),
    )
    emit()
    await clock.pass(200 + 7_000)
    expect(sent).toHaveLength(1)
    await clock.pass(200)
    expect(sent).toHaveLength(2)
  })

  test('a request without an answer is given up and sent again', async () => {
    const { clock, sent, emit, tallyline } = clientOf(
      (request, index) => (index === 0 ? new Promise(() => undefined) : acceptAll(request)),
      { requestTimeoutMs: 1_000 },
    )
    emit()
    await clock.pass(1_500)
    expect(sent).toHaveLength(2)
    expect(tallyline.stats()).toMatchObject({ accepted: 1, latestError: 'no answer in 1000 ms' })
  })

  test('of a batch only what failed is sent again; what was refused goes to onDead with its event', async () => {
    const { clock, sent, emit, dead, tallyline } = clientOf((request, index) =>
      index > 0
        ? acceptAll(request)
        : outcomes(503, [
            'accepted',
            { outcome: 'failed', retryable: true },
            { outcome: 'rejected', code: 'unknown_field', path: 'data.tokens', message: 'is not in the schema' },
            'duplicate',
            { outcome: 'quota_exceeded', quota_remaining: '0' },
          ]),
    )
    const ids = emit(5)
    await clock.pass(1_000)
    expect(sent.map((request) => request.ids)).toEqual([ids, [ids[1]]])
    expect(dead).toMatchObject([
      { id: ids[2], code: 'unknown_field', path: 'data.tokens', event: { id: ids[2], data: { tokens: 2 } } },
      { id: ids[4], code: 'quota_exceeded', event: { id: ids[4] } },
    ])
    expect(tallyline.stats()).toMatchObject({ accepted: 2, duplicates: 1, dead: 2, retried: 1, waiting: 0 })
  })

  test('a batch that is too large is halved, and the batches after it are smaller', async () => {
    const { clock, sent, emit, tallyline } = clientOf(
      (request) => (request.text.length > 6_000 ? { status: 413 } : acceptAll(request)),
      { batchBytes: 50_000 },
    )
    emit(128)
    await clock.pass(2_000)
    expect(tallyline.stats()).toMatchObject({ accepted: 128, waiting: 0 })
    const refused = sent.filter(({ text }) => text.length > 6_000).length
    emit(128)
    await clock.pass(2_000)
    expect(tallyline.stats()).toMatchObject({ accepted: 256, dead: 0 })
    expect(sent.filter(({ text }) => text.length > 6_000).length - refused).toBeLessThan(refused)
  })

  test('of a batch that cannot be read the one event at fault is found', async () => {
    const { clock, sent, emit, dead, tallyline } = clientOf(
      (request) =>
        request.text.includes('customer-5"') ? { status: 400, body: { code: 'invalid_json' } } : acceptAll(request),
      { concurrency: 1 },
    )
    const ids = emit(8)
    await clock.pass(1_000)
    // One batch after the other is taken apart: few pieces wait at a time.
    expect(sent.map((request) => request.ids.length)).toEqual([8, 4, 4, 2, 1, 1, 2])
    expect(dead).toMatchObject([{ id: ids[5], code: 'invalid_json' }])
    expect(tallyline.stats()).toMatchObject({ accepted: 7, dead: 1, waiting: 0 })
  })

  test('a 400 of something on the way takes no batch apart and buries nothing', async () => {
    const { clock, sent, emit, dead, tallyline } = clientOf((request, index) =>
      index < 6 ? { status: 400, body: '<html>Bad Request</html>' } : acceptAll(request),
    )
    const ids = emit(50)
    await clock.pass(60_000)
    expect(sent.map((request) => request.ids)).toEqual(Array.from({ length: 7 }, () => ids))
    expect(dead).toEqual([])
    expect(tallyline.stats()).toMatchObject({ accepted: 50, latestError: 'http_400: the server answered 400' })
  })

  test('a key that is refused: tried some times and for some time, then onDead is told why', async () => {
    const { clock, sent, emit, dead } = clientOf(
      () => ({ status: 401, body: { code: 'unauthenticated', detail: 'Send a valid key' } }),
      { refusedTries: 3, refusedForMs: 1_000 },
    )
    const ids = emit(2)
    await clock.pass(200 + 1_000)
    expect(dead).toEqual([])
    await clock.pass(60_000)
    // At 0, 200, 600 and 1,400 ms: the third was too early.
    expect(sent).toHaveLength(4)
    expect(dead).toMatchObject(ids.map((id) => ({ id, code: 'unauthenticated', message: 'Send a valid key' })))
  })

  test('a key that works again in time loses nothing', async () => {
    const { clock, emit, dead, tallyline } = clientOf((request, index) =>
      index < 4 ? { status: 403 } : acceptAll(request),
    )
    emit(2)
    await clock.pass(60_000)
    expect(dead).toEqual([])
    expect(tallyline.stats()).toMatchObject({ accepted: 2 })
  })

  test('an ingress that knows no route while the server is deployed: minutes of it lose nothing', async () => {
    const { clock, sent, emit, dead, tallyline } = clientOf((request) =>
      clock.monotonicMs() < 240_000 ? { status: 404, headers: { 'retry-after': '10' } } : acceptAll(request),
    )
    emit(3)
    await clock.pass(200 + 10_000)
    expect(sent).toHaveLength(1)
    await clock.pass(200)
    expect(sent).toHaveLength(2)
    await clock.pass(220_000)
    expect(sent.length).toBeGreaterThan(5)
    await clock.pass(100_000)
    expect(dead).toEqual([])
    expect(tallyline.stats()).toMatchObject({ accepted: 3, waiting: 0 })
  })

  test('a fault that nobody thought of costs no event', async () => {
    const { clock, emit, tallyline } = clientOf((request, index) => (index < 2 ? away() : acceptAll(request)), {
      random: () => {
        throw new Error('boom')
      },
    })
    emit(3)
    await clock.pass(1_000)
    expect(tallyline.stats()).toMatchObject({ waiting: 3, latestError: 'Error: boom' })
    await clock.pass(120_000)
    expect(tallyline.stats()).toMatchObject({ accepted: 3, dead: 0, waiting: 0 })
  })

  test('no more requests at once than the bound, and one alone after a failure', async () => {
    let open = 0
    let most = 0
    let broken = false
    const { clock, emit, tallyline } = clientOf(
      async (request) => {
        most = Math.max(most, ++open)
        await new Promise((resolve) => setImmediate(resolve))
        open--
        return broken ? { status: 503 } : acceptAll(request)
      },
      { batchEvents: 10, concurrency: 3 },
    )
    emit(100)
    for (let n = 0; n < 20; n++) await clock.pass(50)
    expect({ most, accepted: tallyline.stats().accepted }).toEqual({ most: 3, accepted: 100 })
    broken = true
    emit(100)
    await clock.pass(1_000)
    most = 0
    await clock.pass(30_000)
    expect(most).toBe(1)
    broken = false
    await clock.pass(120_000)
    expect(tallyline.stats()).toMatchObject({ accepted: 200, waiting: 0 })
  })

  test('a batch that the server cannot digest holds up nobody', async () => {
    const { clock, emit, tallyline } = clientOf(
      (request) => (request.text.includes('customer-0"') ? { status: 500 } : acceptAll(request)),
      { batchEvents: 10, concurrency: 1 },
    )
    emit(100)
    await clock.pass(60_000)
    expect(tallyline.stats()).toMatchObject({ accepted: 90, waiting: 10 })
  })
})

/** Issue 6: bounded memory with a callback when full. */
describe('memory is bounded', () => {
  test('by events: the newest are dropped, counted, and told', async () => {
    let up = false
    const { clock, emit, full, tallyline } = clientOf((request) => (up ? acceptAll(request) : away()), {
      maxWaitingEvents: 5,
    })
    emit(8)
    expect(full.map(({ reason, waiting }) => ({ reason, waiting }))).toEqual(
      [5, 5, 5].map((waiting) => ({ reason: 'full', waiting })),
    )
    await clock.pass(5_000)
    emit(1)
    expect(tallyline.stats()).toMatchObject({ emitted: 9, dropped: 4, waiting: 5 })
    up = true
    await clock.pass(60_000)
    emit(2)
    await clock.pass(1_000)
    expect(tallyline.stats()).toMatchObject({ emitted: 11, accepted: 7, dropped: 4, waiting: 0, bytes: 0 })
  })

  test('by bytes, those that are under way included', async () => {
    const { clock, emit, tallyline } = clientOf(() => new Promise(() => undefined), { maxWaitingBytes: 2_000 })
    emit(100)
    await clock.pass(1_000)
    emit(100)
    const { bytes, dropped, waiting } = tallyline.stats()
    expect(bytes).toBeLessThanOrEqual(2_000)
    expect(bytes).toBeGreaterThan(1_700)
    expect(dropped + waiting).toBe(200)
  })

  test('how long the oldest has waited', async () => {
    const { clock, emit, tallyline } = clientOf(away)
    emit()
    await clock.pass(1_000)
    emit()
    await clock.pass(500)
    expect(tallyline.stats()).toMatchObject({ waiting: 2, oldestWaitingMs: 1_500 })
  })
})

describe('flush and close', () => {
  test('flush does not wait for more, and says what the server has', async () => {
    const { clock, emit, tallyline } = clientOf()
    emit(3)
    const flushed = tallyline.flush()
    await clock.pass(0)
    expect(await flushed).toEqual({ durable: 3, acknowledged: 3, waiting: 0 })
  })

  test('flush waits for what was emitted before it only', async () => {
    let release = (): void => undefined
    const { clock, emit, tallyline } = clientOf(async (request, index) => {
      if (index === 1) await new Promise<void>((resolve) => (release = resolve))
      return acceptAll(request)
    })
    emit(1)
    const first = tallyline.flush()
    emit(1)
    await clock.pass(200)
    expect(await first).toMatchObject({ acknowledged: 1 })
    release()
  })

  test('flush ends at its timeout when the server is away', async () => {
    const { clock, emit, tallyline } = clientOf(away)
    emit(3)
    const flushed = tallyline.flush({ timeoutMs: 2_000 })
    await clock.pass(2_000)
    expect(await flushed).toEqual({ durable: 0, acknowledged: 0, waiting: 3 })
  })

  test('close sends what waits and takes no more', async () => {
    const { clock, emit, full, tallyline } = clientOf(undefined, { batchEvents: 10 })
    emit(35)
    const closed = tallyline.close()
    expect(emit(1)).toEqual(['not taken'])
    await clock.pass(100)
    expect(await closed).toEqual({ durable: 35, acknowledged: 35, waiting: 0 })
    expect(full).toMatchObject([{ reason: 'closed' }])
    expect(tallyline.close()).toBe(tallyline.close())
  })

  test('what cannot be sent before the timeout is told to onDead; an answer after it changes nothing', async () => {
    let release = (): void => undefined
    const { clock, emit, dead, tallyline } = clientOf(async (request) => {
      await new Promise<void>((resolve) => (release = resolve))
      return acceptAll(request)
    })
    const ids = emit(2)
    const closed = tallyline.close({ timeoutMs: 1_000 })
    await clock.pass(1_100)
    expect(await closed).toEqual({ durable: 0, acknowledged: 0, waiting: 2 })
    expect(dead).toMatchObject(ids.map((id) => ({ id, code: 'closed' })))
    release()
    await clock.pass(1_000)
    expect(tallyline.stats()).toMatchObject({ accepted: 0, dead: 2, waiting: 0 })
    const flushed = tallyline.flush()
    await clock.pass(0)
    expect(await flushed).toMatchObject({ waiting: 0 })
  })
})
