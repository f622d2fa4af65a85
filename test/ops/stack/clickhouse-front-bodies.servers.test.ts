import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { brotliDecompressSync, gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodeLogRows } from '../../../schemas/event/usage-batch.avro.ts'
import { type Front, startFront } from './front-client.ts'

let front: Front
let ok: Front['ok']
let send: Front['send']
beforeAll(async () => {
  front = await startFront()
  ;({ ok, send } = front)
})
afterAll(() => front.stop())

describe('an insert', () => {
  test('has its rows in the body, behind the query or alone', async () => {
    await ok({ body: 'TRUNCATE TABLE t' })
    await ok({ query: { query: 'INSERT INTO t FORMAT JSONEachRow' }, body: '{"a":1,"b":"FORMAT CSV; \'"}\n{"a":2}\n' })
    await ok({ body: 'INSERT INTO t (a, b) FORMAT CSV\n3,"it\'s; FORMAT"\n4,"ü"\n' })
    await ok({ body: "INSERT INTO t (a, b) VALUES (5, 'v'), (6, concat('w', 'x'))" })
    await ok({ query: { query: 'INSERT INTO t (a) VALUES' }, body: '(7)' })
    await ok({
      query: {
        query: "INSERT INTO t (a, b) SELECT a + 10, {p:String} FROM input('a Int32') FORMAT TSV",
        param_p: 'pp',
      },
      body: '1\n2\n',
    })
    await ok({
      query: { query: 'INSERT INTO t (a) SETTINGS input_format_skip_unknown_fields = 1 FORMAT JSONEachRow' },
      body: '{"a":20,"z":1}',
    })
    await ok({
      query: { query: 'INSERT INTO t (a) FORMAT JSONEachRow', input_format_skip_unknown_fields: '1' },
      body: '{"a":21,"z":1}',
    })
    expect(await front.rowsOf('SELECT a, b FROM t ORDER BY a')).toBe(
      "1\tFORMAT CSV; \\'\n2\tdefault 2\n3\tit\\'s; FORMAT\n4\tü\n5\tv\n6\twx\n7\tdefault 7\n" +
        '11\tpp\n12\tpp\n20\tdefault 20\n21\tdefault 21\n',
    )
  })

  test('without rows stores nothing', async () => {
    await ok({ body: 'TRUNCATE TABLE t' })
    await ok({ query: { query: 'INSERT INTO t FORMAT JSONEachRow' }, body: '' })
    expect(await front.rowsOf('SELECT count() FROM t')).toBe('0\n')
  })

  test('of Avro keeps every byte', async () => {
    await ok({
      body: 'CREATE TABLE raw (known_at Int64, partition Int32, offset Int64, tenant Int32, id String) ENGINE = Memory',
    })
    const every = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
    // By hand, so that the texts hold bytes that are no UTF-8: count 1, one event, all other fields empty or 0.
    const text = (bytes: Buffer) => Buffer.concat([zigzag(bytes.length), bytes])
    const event = Buffer.concat([
      zigzag(9),
      text(Buffer.alloc(0)),
      text(every),
      zigzag(-1),
      text(Buffer.alloc(0)),
      text(Buffer.alloc(0)),
      zigzag(0),
      Buffer.from([1]),
      text(Buffer.alloc(0)),
    ])
    const batch = Buffer.concat([zigzag(1), zigzag(1), event, zigzag(0)])
    const file = encodeLogRows([{ knownAtMs: 5, partition: 6, offset: 7, batch }])
    const structure =
      'known_at Int64, partition Int32, offset Int64, batch Tuple(count Int32, events Array(Tuple(tenant Int32, ' +
      'source String, id String, shard Int64, type String, subject String, time DateTime64(3), time_given Bool, data String)))'
    const sql = `INSERT INTO raw SELECT known_at, partition, offset, event.tenant, event.id
      FROM (SELECT * FROM input('${structure}')) ARRAY JOIN tupleElement(batch, 'events') AS event FORMAT Avro`
    await ok({ query: { query: sql }, body: file })
    await ok({ query: { query: sql }, headers: { 'Content-Encoding': 'gzip' }, body: gzipSync(file) })
    await ok({ body: Buffer.concat([Buffer.from(`${sql}\n`), file]) })
    const row = `5\t6\t7\t9\t${every.toString('hex').toUpperCase()}\n`
    expect(await front.rowsOf('SELECT known_at, partition, offset, tenant, hex(id) FROM raw')).toBe(row.repeat(3))
  })

  test('with rows that cannot be read is refused with the code of the reader', async () => {
    const bad = await send({ query: { query: 'INSERT INTO t (a) FORMAT JSONEachRow' }, body: '{"a":"x"}' })
    expect(bad).toMatchObject({ status: 400, headers: { 'x-clickhouse-exception-code': '27' } })
    const avro = await send({
      query: { query: "INSERT INTO t (a) SELECT a FROM input('a Int32') FORMAT Avro" },
      body: 'no avro',
    })
    expect(avro.headers['x-clickhouse-exception-code']).toBe('748')
  })

  test('of many megabytes passes through without being kept in memory', async () => {
    await ok({ body: 'TRUNCATE TABLE t' })
    const line = Buffer.from(`{"a":1,"b":"${'x'.repeat(1_000)}"}\n`.repeat(1_000))
    const before = front.rss()
    const sent = request(`${front.url}/`, { method: 'POST', agent: false })
    const answered = new Promise<number>((done, fail) => {
      sent.on('response', (response) => response.resume().on('end', () => done(response.statusCode ?? 0)))
      sent.on('error', fail)
    })
    sent.write('INSERT INTO t (a, b) FORMAT JSONEachRow\n')
    for (let block = 0; block < 200; block++)
      if (!sent.write(line)) await new Promise<void>((drained) => sent.once('drain', () => drained()))
    const grown = front.rss() - before
    sent.end()
    expect(await answered).toBe(200)
    expect(await front.rowsOf('SELECT count() FROM t')).toBe('200000\n')
    expect(grown).toBeLessThan(120)
  })

  test('that breaks off stores nothing', async () => {
    await ok({ body: 'TRUNCATE TABLE t' })
    const sent = request(`${front.url}/?query=${encodeURIComponent('INSERT INTO t (a) FORMAT JSONEachRow')}`, {
      method: 'POST',
      agent: false,
    })
    sent.on('error', () => undefined)
    sent.write('{"a":1}\n')
    await sleep(200)
    sent.destroy()
    await sleep(200)
    expect(await front.rowsOf('SELECT count() FROM t')).toBe('0\n')
  })
})

describe('compression', () => {
  const body = "SELECT repeat('abc', 10000) FROM numbers(50) FORMAT TSV"
  const plain = `${'abc'.repeat(10_000)}\n`.repeat(50)

  test('of answers, when asked for by both header and setting', async () => {
    const query = { enable_http_compression: '1' }
    const zipped = await ok({ query, headers: { 'Accept-Encoding': 'gzip' }, body })
    expect(zipped.headers['content-encoding']).toBe('gzip')
    expect(gunzipSync(zipped.body).toString()).toBe(plain)
    expect(zipped.body.length).toBeLessThan(plain.length / 50)
    const brotli = await ok({ query, headers: { 'Accept-Encoding': 'gzip, br' }, body })
    expect(brotliDecompressSync(brotli.body).toString()).toBe(plain)
    const unasked = await ok({ headers: { 'Accept-Encoding': 'gzip' }, body })
    expect(unasked.headers['content-encoding']).toBeUndefined()
    expect(unasked.text).toBe(plain)
    expect((await send({ query, headers: { 'Accept-Encoding': 'gzip' }, body: 'SELEKT' })).text).toContain('Code: 62')
  })

  test('of queries and rows', async () => {
    const headers = { 'Content-Encoding': 'gzip' }
    expect((await ok({ headers, body: gzipSync('SELECT 5') })).text).toBe('5\n')
    expect((await send({ headers, body: 'no gzip' })).status).toBe(500)
    expect((await send({ headers: { 'Content-Encoding': 'snappy' }, body: 'x' })).status).toBe(501)
  })
})

describe('long answers', () => {
  test('leave piece by piece and are not kept in memory', async () => {
    const before = front.rss()
    let bytes = 0
    let first = 0
    const began = performance.now()
    await new Promise<void>((done, fail) => {
      const sent = request(`${front.url}/`, { method: 'POST', agent: false }, (response) => {
        response.on('data', (part: Buffer) => {
          first ||= performance.now() - began
          bytes += part.length
        })
        response.on('end', done)
      })
      sent.on('error', fail)
      sent.end("SELECT number, repeat('x', 100) FROM numbers(5000000) FORMAT JSONEachRow")
    })
    expect(bytes).toBeGreaterThan(600_000_000)
    expect(first).toBeLessThan((performance.now() - began) / 2)
    expect(front.rss() - before).toBeLessThan(300)
  }, 120_000)

  test('end in the engine when their reader goes away', async () => {
    await Promise.all(
      Array.from(
        { length: 12 },
        () =>
          new Promise<void>((gone) => {
            const sent = request(`${front.url}/`, { method: 'POST', agent: false }, (response) => {
              response.once('data', () => {
                response.destroy()
                gone()
              })
            })
            sent.on('error', () => undefined)
            sent.end('SELECT sipHash64(number) FROM numbers(100000000000) FORMAT JSONEachRow')
          }),
      ),
    )
    // More than there are connections: if they were still taken, this would wait for ever.
    expect(await Promise.all(Array.from({ length: 12 }, () => front.rowsOf('SELECT 1')))).toEqual(
      Array.from({ length: 12 }, () => '1\n'),
    )
  })
})

function zigzag(value: number): Buffer {
  let rest = (BigInt(value) << 1n) ^ (BigInt(value) >> 63n)
  const bytes: number[] = []
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  return Buffer.from([...bytes, Number(rest)])
}
