import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BODY_LIMITS, type DecodedBody, decodeBody } from '../../../ingest/accept/body.ts'

function decode(body: string | Buffer, contentType: string | undefined = 'application/json', contentEncoding?: string) {
  return decodeBody({ contentType, contentEncoding, body: Buffer.from(body as string) })
}

async function codeOf(decoding: Promise<DecodedBody>): Promise<string> {
  const problem = await decoding.then(
    () => ({ code: 'decoded' }),
    (error) => error,
  )
  return problem.code
}

const LINES = 'application/x-ndjson'
const BATCH = 'application/cloudevents-batch+json'

describe('content types', () => {
  test('an object is one event', async () => {
    for (const type of ['application/json', 'application/cloudevents+json', 'Application/JSON; charset="UTF-8"']) {
      expect(await decode('{"id":"1"}', type)).toEqual({ events: [{ id: '1' }], single: true })
    }
  })
  test('an array is many events, also when it holds one', async () => {
    expect(await decode('[{"id":"1"}]')).toEqual({ events: [{ id: '1' }], single: false })
    expect(await decode('[1,2]', BATCH)).toEqual({ events: [1, 2], single: false })
  })
  test('NDJSON is one event a line, blank lines skipped', async () => {
    expect(await decode('\n{"a":1}\r\n  \n{"a":2}', LINES)).toEqual({ events: [{ a: 1 }, { a: 2 }], single: false })
  })
  test('a batch that is one object is refused', async () => {
    expect(await codeOf(decode('{}', BATCH))).toBe('invalid_request')
  })
  test('a scalar is no event', async () => {
    for (const text of ['1', '"a"', 'null', 'true']) expect(await codeOf(decode(text))).toBe('invalid_request')
  })
  test('any other content type or charset is refused', async () => {
    for (const type of [
      'text/plain',
      'application/xml',
      '',
      'json',
      'application/json; charset=latin1',
      'avro/binary',
    ]) {
      expect(await codeOf(decode('{}', type))).toBe('unsupported_media_type')
    }
    const none = decodeBody({ contentType: undefined, contentEncoding: undefined, body: Buffer.from('{}') })
    expect(await codeOf(none)).toBe('unsupported_media_type')
  })
  test('parameters other than charset are ignored', async () => {
    expect((await decode('{}', 'application/json; profile=x')).single).toBe(true)
  })
})

describe('JSON', () => {
  test('an empty body, blank lines or an empty list are refused', async () => {
    for (const text of ['', '  \n ', '[]', '\ufeff']) expect(await codeOf(decode(text))).toBe('invalid_request')
    expect(await codeOf(decode('\n\n', LINES))).toBe('invalid_request')
    expect(await codeOf(decode('', 'application/json', 'gzip'))).toBe('invalid_request')
  })
  test('what does not parse is refused, and for NDJSON the line is named', async () => {
    for (const text of ['{', '{"a":NaN}', '{a:1}', '[1,]', '{}{}', ']'.repeat(10)]) {
      expect(await codeOf(decode(text))).toBe('invalid_json')
    }
    await expect(decode('{"a":1}\n\n{"a":', LINES)).rejects.toThrow(/line 3/)
  })
  test('of duplicate keys the last wins', async () => {
    expect((await decode('{"a":1,"a":2}')).events).toEqual([{ a: 2 }])
  })
  test('__proto__ is an ordinary key and pollutes nothing', async () => {
    const [event] = (await decode('{"__proto__":{"polluted":true}}')).events
    expect(Object.hasOwn(event as object, '__proto__')).toBe(true)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })
  test('64 levels are accepted, 65 refused', async () => {
    expect((await decode('['.repeat(64) + ']'.repeat(64))).events).toHaveLength(1)
    expect(await codeOf(decode('['.repeat(65) + ']'.repeat(65)))).toBe('invalid_json')
    await expect(decode(`{}\n${'{"a":'.repeat(65)}1${'}'.repeat(65)}`, LINES)).rejects.toThrow(/line 2/)
  })
  test('a million brackets are refused quickly', async () => {
    for (const type of ['application/json', LINES, BATCH]) {
      expect(await codeOf(decode('['.repeat(1_000_000), type))).toBe('invalid_json')
      expect(await codeOf(decode('{"a":'.repeat(1_000_000), type))).toBe('invalid_json')
    }
  })
  test('brackets inside strings are text, whatever is escaped', async () => {
    const text = JSON.stringify({ a: `\\"${'['.repeat(1000)}"\\` })
    expect((await decode(text)).events).toEqual([JSON.parse(text)])
    expect(await codeOf(decode(`["\\\\",${'['.repeat(70)}${']'.repeat(71)}`))).toBe('invalid_json')
  })
  test('a broken string on one line does not hide the depth of the next', async () => {
    expect(await codeOf(decode(`"\\\n${'['.repeat(100)}`, LINES))).toBe('invalid_json')
  })
  test('every list of JSON values comes back as sent, as array and as lines, plain and gzipped', async () => {
    const values = fc.array(fc.jsonValue({ maxDepth: 5 }), { minLength: 1, maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(values, async (events) => {
        const expected = { events: JSON.parse(JSON.stringify(events)), single: false }
        const lines = events.map((event) => JSON.stringify(event)).join('\n')
        expect(await decode(JSON.stringify(events))).toEqual(expected)
        expect(await decode(lines, LINES)).toEqual(expected)
        expect(await decode(gzipSync(lines), LINES, 'gzip')).toEqual(expected)
      }),
    )
  })
  test('whatever the bytes are, decoding ends with events or a documented problem', async () => {
    const codes = ['decoded', 'invalid_json', 'invalid_encoding', 'invalid_request']
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
    )
    await fc.assert(
      fc.asyncProperty(bytes, fc.constantFrom('application/json', LINES), async (body, type) => {
        expect(codes).toContain(await codeOf(decode(Buffer.from(body), type)))
        expect(codes).toContain(await codeOf(decode(Buffer.from(body), type, 'gzip')))
      }),
    )
  })
})

describe('encodings', () => {
  test('identity and gzip are taken, all others refused', async () => {
    const body = gzipSync('{}')
    for (const encoding of ['gzip', 'GZIP', ' x-gzip']) {
      expect((await decode(body, 'application/json', encoding)).events).toEqual([{}])
    }
    expect((await decode('{}', 'application/json', 'identity')).events).toEqual([{}])
    for (const encoding of ['br', 'deflate', 'gzip, gzip', 'zstd']) {
      expect(await codeOf(decode(body, 'application/json', encoding))).toBe('unsupported_media_type')
    }
  })
  test('truncated, corrupt or absent gzip is refused', async () => {
    const body = gzipSync(JSON.stringify({ text: 'a'.repeat(1000) }))
    for (let length = 1; length < body.length; length++) {
      const code = await codeOf(decode(body.subarray(0, length), 'application/json', 'gzip'))
      expect(code, `cut to ${length} bytes`).toBe('invalid_encoding')
    }
    const corrupt = Buffer.from(body)
    corrupt.writeUInt32LE(0, corrupt.length - 8)
    expect(await codeOf(decode(corrupt, 'application/json', 'gzip'))).toBe('invalid_encoding')
    expect(await codeOf(decode('{}', 'application/json', 'gzip'))).toBe('invalid_encoding')
  })
  test('bytes after the gzip are refused and not dropped, further gzip members are read', async () => {
    const line = gzipSync('{"a":1}\n')
    expect((await decode(Buffer.concat([line, line]), LINES, 'gzip')).events).toHaveLength(2)
    for (const tail of [Buffer.from('x'), Buffer.concat([Buffer.alloc(1), line]), line.subarray(0, 5)]) {
      expect(await codeOf(decode(Buffer.concat([line, tail]), LINES, 'gzip'))).toBe('invalid_encoding')
    }
  })
  test('invalid UTF-8 is refused', async () => {
    for (const bytes of [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xe2, 0x82], [0xf5, 0x80, 0x80, 0x80]]) {
      const body = Buffer.concat([Buffer.from('{"a":"'), Buffer.from(bytes), Buffer.from('"}')])
      expect(await codeOf(decode(body))).toBe('invalid_encoding')
      expect(await codeOf(decode(body, LINES))).toBe('invalid_encoding')
    }
  })
})

describe('sizes', () => {
  test('10 MiB is taken, one byte more is refused', async () => {
    const body = (bytes: number) => Buffer.from(`{"a":"${'x'.repeat(bytes - 8)}"}`)
    expect((await decode(body(BODY_LIMITS.bytes))).single).toBe(true)
    expect(await codeOf(decode(body(BODY_LIMITS.bytes + 1)))).toBe('body_too_large')
    expect(await codeOf(decode(gzipSync(body(BODY_LIMITS.bytes + 1), { level: 0 }), undefined, 'gzip'))).toBe(
      'body_too_large',
    )
  })
  test('a gzip bomb is refused after little memory', async () => {
    const bomb = gzipSync(Buffer.alloc(200_000_000, ' '))
    const before = process.memoryUsage().rss
    expect(await codeOf(decode(bomb, 'application/json', 'gzip'))).toBe('body_too_large')
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000)
  })
  test('a small body may compress as well as it likes, a large one 50:1', async () => {
    const repeated = (bytes: number) => gzipSync(`{"a":"${'x'.repeat(bytes)}"}`)
    expect((await decode(repeated(60_000), 'application/json', 'gzip')).single).toBe(true)
    expect(await codeOf(decode(repeated(100_000), 'application/json', 'gzip'))).toBe('body_too_large')
  })
  test('10,000 events are taken, one more is refused', async () => {
    const lines = (count: number) => '{}\n'.repeat(count)
    const array = (count: number) => `[${'{},'.repeat(count - 1)}{}]`
    expect((await decode(lines(10_000), LINES)).events).toHaveLength(10_000)
    expect((await decode(array(10_000))).events).toHaveLength(10_000)
    expect(await codeOf(decode(lines(10_001), LINES))).toBe('body_too_large')
    expect(await codeOf(decode(array(10_001)))).toBe('body_too_large')
  })
})
