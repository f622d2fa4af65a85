import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { createTallyline } from '../../sdk/typescript/src/tallyline.ts'
import { zip } from '../../sdk/typescript/src/zip.ts'
import { runNode } from '../support/run-node.ts'
import { clientOf } from './support/client.ts'
import { acceptAll } from './support/scripted-server.ts'
import { START_MS } from './support/virtual-clock.ts'

const EVENT = { type: 'llm.request', subject: 'customer-1', data: { tokens: 7 } }

/** Issue 6: emit never blocks and never throws in the request path; ids and times are set at emission. */
describe('emit', () => {
  test('events become CloudEvents with the id and time of emission, in one batch', async () => {
    const { tallyline, clock, sent } = clientOf(undefined, { source: 'gateway', lingerMs: 100 })
    const first = tallyline.emit(EVENT)
    await clock.pass(50)
    const second = tallyline.emit({ ...EVENT, id: 'mine', time: 0, source: 'other', hold: 'lease-1' })
    expect(sent).toEqual([])
    await clock.pass(50)
    expect(sent.map(({ path, headers, body }) => ({ path, headers, body }))).toEqual([
      {
        path: '/api/v1/events',
        headers: { authorization: 'Bearer tly_test', 'content-type': 'application/cloudevents-batch+json' },
        body: [
          { specversion: '1.0', id: first, source: 'gateway', ...EVENT, time: new Date(START_MS).toISOString() },
          {
            ...EVENT,
            specversion: '1.0',
            id: 'mine',
            source: 'other',
            time: '1970-01-01T00:00:00.000Z',
            tallyhold: 'lease-1',
          },
        ],
      },
    ])
    expect(second).toBe('mine')
    expect(tallyline.stats()).toMatchObject({ emitted: 2, accepted: 2, waiting: 0, bytes: 0, requests: 1, sent: 2 })
  })

  test('nothing is sent in the caller’s turn, even when a batch is full', async () => {
    const { clock, sent, emit } = clientOf(undefined, { batchEvents: 3 })
    emit(7)
    expect(sent).toEqual([])
    await clock.pass(0)
    expect(sent.map(({ ids }) => ids.length)).toEqual([3, 3])
    await clock.pass(200)
    expect(sent.map(({ ids }) => ids.length)).toEqual([3, 3, 1])
  })

  test('a batch ends before it grows beyond its bytes', async () => {
    const { tallyline, clock, sent } = clientOf(undefined, { batchBytes: 1_000 })
    for (let n = 0; n < 10; n++) tallyline.emit({ ...EVENT, data: { text: 'x'.repeat(200) } })
    await clock.pass(200)
    expect(sent.map(({ ids }) => ids.length)).toEqual([2, 2, 2, 2, 2])
    expect(Math.max(...sent.map(({ text }) => text.length))).toBeLessThan(1_010)
  })

  test('what the caller changes afterwards changes nothing', async () => {
    const { tallyline, clock, sent } = clientOf()
    const data = { tokens: 1 }
    tallyline.emit({ ...EVENT, data })
    data.tokens = 999
    await clock.pass(200)
    expect(sent[0]?.body).toMatchObject([{ data: { tokens: 1 } }])
  })

  test('text of every kind arrives as it was', async () => {
    const { tallyline, clock, sent } = clientOf()
    const subject = 'Zoë "\\ \u0007\u2028 😀'
    tallyline.emit({ type: 'a"b', subject, data: { subject } })
    await clock.pass(200)
    expect(sent[0]?.body).toMatchObject([{ type: 'a"b', subject, data: { subject } }])
  })

  test.each([
    ['no event', undefined],
    ['no type', { ...EVENT, type: undefined }],
    ['an empty subject', { ...EVENT, subject: '' }],
    ['no data', { ...EVENT, data: null }],
    ['a list as data', { ...EVENT, data: [] }],
    ['data that is no JSON', { ...EVENT, data: { big: 1n } }],
    ['data that becomes nothing in JSON', { ...EVENT, data: { toJSON: () => undefined } }],
    ['data that becomes a text in JSON', { ...EVENT, data: new Date(0) }],
    ['data that becomes a list in JSON', { ...EVENT, data: { toJSON: () => [] } }],
    ['a time that is none', { ...EVENT, time: new Date(Number.NaN) }],
  ])('%s: told to onDead, and the caller goes on', async (_name, event) => {
    const { tallyline, dead, clock, sent } = clientOf()
    expect(tallyline.emit(event as never)).toBeUndefined()
    expect(dead).toMatchObject([{ event, code: 'invalid_event' }])
    expect(tallyline.stats()).toMatchObject({ emitted: 1, dead: 1, waiting: 0 })
    await clock.pass(1_000)
    expect(sent).toEqual([])
  })

  test('an event whose members throw', () => {
    const { tallyline, dead } = clientOf()
    const event = {
      ...EVENT,
      get subject(): string {
        throw new Error('boom')
      },
    }
    expect(tallyline.emit(event)).toBeUndefined()
    expect(dead.map(({ code, message }) => ({ code, message }))).toEqual([{ code: 'invalid_event', message: 'boom' }])
  })

  test('callbacks that throw or reject are counted, and stop nothing', async () => {
    const onDead = async () => Promise.reject(new Error('mine'))
    const onFull = () => {
      throw new Error('mine too')
    }
    const { tallyline, clock, emit } = clientOf(undefined, { maxWaitingEvents: 1, onDead, onFull })
    tallyline.emit({ ...EVENT, subject: '' })
    emit(2)
    await clock.pass(200)
    expect(tallyline.stats()).toMatchObject({ emitted: 3, accepted: 1, dead: 1, dropped: 1, callbackErrors: 2 })
  })

  test('a callback that emits what cannot be taken either is not called inside itself', () => {
    let told = 0
    const { tallyline, emit } = clientOf(undefined, {
      maxWaitingEvents: 1,
      onFull: () => {
        told++
        tallyline.emit(EVENT)
      },
    })
    emit(3)
    expect(told).toBe(2)
    expect(tallyline.stats()).toMatchObject({ emitted: 5, dropped: 4, callbackErrors: 2, waiting: 1 })
  })

  test('a callback may return a promise of another library', async () => {
    // biome-ignore lint/suspicious/noThenProperty: such a promise is what is tested.
    const failing = { then: (_done: unknown, failed: (error: Error) => void) => failed(new Error('mine')) }
    const { tallyline, clock } = clientOf(undefined, { onDead: () => failing })
    tallyline.emit({ ...EVENT, subject: '' })
    await clock.pass(0)
    expect(tallyline.stats()).toMatchObject({ dead: 1, callbackErrors: 1 })
  })

  test('large bodies are gzipped, small ones are plain', async () => {
    const { clock, sent, emit } = clientOf(undefined, { gzipFromBytes: 1_000 })
    emit(1)
    await clock.pass(200)
    emit(50)
    await expect.poll(async () => clock.pass(200).then(() => sent.length)).toBe(2)
    expect(sent.map(({ zipped, ids }) => ({ zipped, events: ids.length }))).toEqual([
      { zipped: false, events: 1 },
      { zipped: true, events: 50 },
    ])
  })

  /** The server takes more than 50:1 for a bomb: 413, and the event would be told as too large. */
  test('a body that gzip makes too small is sent plain', async () => {
    const { tallyline, clock, sent } = clientOf(undefined, { gzipFromBytes: 1_000, lingerMs: 0 })
    // Beyond 65,536 bytes as UTF-8; the last stays below.
    for (const [index, text] of ['x'.repeat(200_000), '€'.repeat(30_000), 'x'.repeat(60_000)].entries()) {
      tallyline.emit({ ...EVENT, data: { text } })
      await expect.poll(async () => clock.pass(200).then(() => sent.length)).toBe(index + 1)
    }
    expect(sent.map(({ zipped }) => zipped)).toEqual([false, false, true])
    expect(tallyline.stats()).toMatchObject({ accepted: 3, dead: 0 })
  })

  test('where there is no zlib, the platform’s streams do it', async () => {
    const { getBuiltinModule } = process
    process.getBuiltinModule = (() => undefined) as unknown as typeof getBuiltinModule
    try {
      const text = 'usage '.repeat(1_000)
      const zipped = await zip(text)
      expect(gunzipSync(zipped!).toString()).toBe(text)
      expect(zipped!.length).toBeLessThan(200)
    } finally {
      process.getBuiltinModule = getBuiltinModule
    }
  })

  test('timers keep no process alive', async () => {
    const program = `
      import { createTallyline } from './sdk/typescript/src/tallyline.ts'
      const tallyline = createTallyline({ url: 'http://127.0.0.1:1', key: 'tly_test', lingerMs: 3_600_000 })
      tallyline.emit({ type: 'llm.request', subject: 'customer-1', data: {} })
      console.log(tallyline.stats().waiting)`
    expect(await runNode(program)).toEqual({ stdout: '1\n', stderr: '', code: 0 })
  })

  test('the key may be a function, asked for each request', async () => {
    const keys = ['tly_1', 'tly_2']
    const { clock, sent, emit } = clientOf(acceptAll, { key: () => keys.shift() ?? '' })
    emit()
    await clock.pass(200)
    emit()
    await clock.pass(200)
    expect(sent.map(({ headers }) => headers.authorization)).toEqual(['Bearer tly_1', 'Bearer tly_2'])
  })

  test('a key that no header can carry is said, and not quoted', async () => {
    const { clock, sent, emit, tallyline } = clientOf(acceptAll, { key: () => 'tly_secret\n' })
    emit()
    await clock.pass(1_000)
    expect(sent).toEqual([])
    const { latestError, waiting } = tallyline.stats()
    expect(waiting).toBe(1)
    expect(latestError).toContain('the key')
    expect(latestError).not.toContain('secret')
  })

  test('an error that quotes the key is told without it', async () => {
    const { clock, emit, tallyline } = clientOf(() => {
      throw new Error('cannot send Bearer tly_test')
    })
    emit()
    await clock.pass(200)
    expect(tallyline.stats().latestError).toBe('cannot send Bearer (key)')
  })

  test.each([
    [{ url: 'server' }, 'url must begin with http(s)://'],
    [{ key: '' }, 'key must be given'],
    [{ key: 'tly_test\n' }, 'key must be printable ASCII without blanks'],
    [{ lingerMs: Number.NaN }, 'lingerMs must be a number, zero or more'],
    [{ batchEvents: 0 }, 'batchEvents must be 1 or more'],
    [{ batchEvents: 10_001 }, 'batchEvents must be at most 10000'],
  ])('options that cannot work fail at the start: %j', (wrong, message) => {
    expect(() => createTallyline({ url: 'http://server.test', key: 'tly_test', ...wrong })).toThrow(message)
  })
})
