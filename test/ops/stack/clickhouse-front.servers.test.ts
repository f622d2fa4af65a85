import { readFileSync } from 'node:fs'
import { type IncomingHttpHeaders, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { brotliDecompressSync, gunzipSync, gzipSync } from 'node:zlib'
import { ClickHouseLogLevel, createClient } from '@clickhouse/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Stack, startStack } from '../../../ops/stack/stack.ts'
import { encodeLogRows } from '../../../schemas/event/usage-batch.avro.ts'

type Answer = { status: number; headers: IncomingHttpHeaders; body: Buffer; text: string; broken: boolean }
type Sent = {
  method?: string
  path?: string
  query?: Record<string, string>
  headers?: Record<string, string>
  body?: Buffer | string
}

let stack: Stack<'clickhouse'>
let url: string

beforeAll(async () => {
  stack = await startStack({ only: ['clickhouse'] })
  url = stack.clickhouse.url
  await ok({
    body: "CREATE TABLE t (a Int32, b String DEFAULT concat('default ', toString(a)), at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY a",
  })
})
afterAll(() => stack.stop())

/** A request whose bytes are ours: fetch would decode the answer and choose headers. */
function send({ method = 'POST', path = '/', query = {}, headers = {}, body }: Sent): Promise<Answer> {
  return new Promise((done, fail) => {
    const search = new URLSearchParams(query).toString()
    const sent = request(
      `${url}${path}${search ? `?${search}` : ''}`,
      { method, headers, agent: false },
      (response) => {
        const parts: Buffer[] = []
        const finish = (broken: boolean) => {
          const whole = Buffer.concat(parts)
          done({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: whole,
            text: whole.toString(),
            broken,
          })
        }
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('end', () => finish(false))
        response.on('error', () => finish(true))
      },
    )
    sent.on('error', fail)
    sent.end(body)
  })
}

async function ok(sent: Sent): Promise<Answer> {
  const answer = await send(sent)
  if (answer.status !== 200) throw new Error(answer.text)
  return answer
}
const rowsOf = async (sql: string) => (await ok({ query: { query: `${sql} FORMAT TSV` } })).text
const truncate = () => ok({ body: 'TRUNCATE TABLE t' })

describe('a query', () => {
  test('is the address, the body, or both', async () => {
    expect((await ok({ method: 'GET', query: { query: 'SELECT 1' } })).text).toBe('1\n')
    expect((await ok({ body: 'SELECT 2;' })).text).toBe('2\n')
    expect((await ok({ query: { query: 'SELECT 1 +' }, body: '2' })).text).toBe('3\n')
    expect((await ok({ method: 'GET', path: '/' })).text).toBe('Ok.\n')
    expect((await ok({ method: 'GET', path: '/ping' })).text).toBe('Ok.\n')
    expect((await send({ path: '/nowhere' })).status).toBe(404)
  })

  test('has the format it names, else the default one, else tabs', async () => {
    const json = await ok({ body: "SELECT 1 AS a, 'x' AS b FORMAT JSONEachRow" })
    expect(json.text).toBe('{"a":1,"b":"x"}\n')
    expect(json.headers).toMatchObject({ 'x-clickhouse-format': 'JSONEachRow', 'content-type': 'application/x-ndjson' })
    expect((await ok({ query: { default_format: 'CSV' }, body: "SELECT 1, 'x'" })).text).toBe('1,"x"\n')
    expect((await ok({ headers: { 'X-ClickHouse-Format': 'JSON' }, body: 'SELECT 1 AS a' })).text).toContain('"meta"')
    expect((await ok({ body: "SELECT 'FORMAT CSV' -- FORMAT CSV" })).text).toBe('FORMAT CSV\n')
  })

  test('has its id in the answer, or gets one', async () => {
    expect((await ok({ query: { query_id: 'mine' }, body: 'SELECT 1' })).headers['x-clickhouse-query-id']).toBe('mine')
    expect((await ok({ body: 'SELECT 1' })).headers['x-clickhouse-query-id']).toMatch(/^[0-9a-f-]{36}$/)
    expect(JSON.parse(String((await ok({ body: 'SHOW TABLES' })).headers['x-clickhouse-summary']))).toHaveProperty(
      'read_rows',
    )
  })

  test('takes any user and any password', async () => {
    const basic = `Basic ${Buffer.from('nobody:wrong').toString('base64')}`
    await ok({ headers: { Authorization: basic }, body: 'SELECT 1' })
    await ok({ headers: { 'X-ClickHouse-User': 'nobody', 'X-ClickHouse-Key': 'wrong' }, body: 'SELECT 1' })
    await ok({ query: { user: 'nobody', password: 'wrong' }, body: 'SELECT 1' })
  })

  test('has parameters, escaped like a field of TSV, from the address or from a form', async () => {
    const sql =
      "SELECT {s:String} AS s, {l:Array(String)} AS l, {n:Nullable(Int8)} AS n, {t:Identifier} FROM t WHERE '{s:String}' != '' LIMIT 0 UNION ALL SELECT {s:String}, {l:Array(String)}, {n:Nullable(Int8)}, 1"
    const params = { param_s: "a\\tb\\\\c\\'", param_l: "['it\\'s','\\\\']", param_n: '\\N', param_t: 'a' }
    expect((await ok({ query: { default_format: 'JSONCompactEachRow', ...params }, body: sql })).text).toBe(
      `["a\\tb\\\\c'", ["it's","\\\\"], null, 1]\n`,
    )
    const part = (name: string, value: string) =>
      `--XX\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
    const form = [...Object.entries(params), ['query', sql] as const].map(([name, value]) => part(name, value)).join('')
    const headers = { 'Content-Type': 'multipart/form-data; boundary=XX' }
    const answer = await ok({ query: { default_format: 'JSONCompactEachRow' }, headers, body: `${form}--XX--\r\n` })
    expect(answer.text).toBe(`["a\\tb\\\\c'", ["it's","\\\\"], null, 1]\n`)
  })

  test('has an address of up to a megabyte', async () => {
    const long = 'x'.repeat(900_000)
    expect((await ok({ method: 'GET', query: { query: 'SELECT length({s:String})', param_s: long } })).text).toBe(
      '900000\n',
    )
  })
})

describe('settings, databases, sessions', () => {
  const threads = "SELECT value FROM system.settings WHERE name = 'max_threads'"
  const all = (sent: Sent) => Promise.all(Array.from({ length: 16 }, () => ok(sent)))

  test('a setting holds for its query and for no other', async () => {
    const before = (await ok({ body: threads })).text
    for (const { text } of await all({ query: { max_threads: '3' }, body: threads })) expect(text).toBe('3\n')
    for (const { text } of await all({ body: threads })) expect(text).toBe(before)
    await ok({ body: 'SET max_threads = 5' })
    for (const { text } of await all({ body: threads })) expect(text).toBe(before)
  })

  test("a setting nobody knows is refused, those of HTTP are not the engine's", async () => {
    expect(await send({ query: { no_such_setting: '1' }, body: 'SELECT 1' })).toMatchObject({
      status: 404,
      headers: { 'x-clickhouse-exception-code': '115' },
    })
    await ok({
      query: { wait_end_of_query: '1', send_progress_in_http_headers: '1', http_headers_progress_interval_ms: '9' },
      body: 'SELECT 1',
    })
  })

  test('max_execution_time ends a query', async () => {
    const answer = await send({
      query: { max_execution_time: '1' },
      body: 'SELECT sum(sipHash64(number)) FROM numbers(100000000000)',
    })
    expect(answer).toMatchObject({ status: 408, headers: { 'x-clickhouse-exception-code': '159' } })
  })

  test('a database holds for its query', async () => {
    await ok({ body: 'CREATE DATABASE IF NOT EXISTS other' })
    for (const { text } of await all({ query: { database: 'other' }, body: 'SELECT currentDatabase()' }))
      expect(text).toBe('other\n')
    await ok({ body: 'USE other' })
    for (const { text } of await all({ body: 'SELECT currentDatabase()' })) expect(text).toBe('default\n')
    expect((await send({ query: { database: 'nowhere' }, body: 'SELECT 1' })).status).toBe(404)
  })

  test('reading only, nothing is written', async () => {
    for (const sent of [
      { method: 'GET', query: { query: 'TRUNCATE TABLE t' } },
      { query: { readonly: '1' }, body: 'TRUNCATE TABLE t' },
    ] satisfies Sent[] as Sent[])
      expect(await send(sent)).toMatchObject({ status: 500, headers: { 'x-clickhouse-exception-code': '164' } })
    expect((await ok({ query: { readonly: '1' }, body: 'SELECT 1' })).text).toBe('1\n')
  })

  test('what is not there says so', async () => {
    for (const query of [{ session_id: 'x' }, { decompress: '1' }] as Record<string, string>[])
      expect(await send({ query, body: 'SELECT 1' })).toMatchObject({ status: 501 })
  })
})

describe('errors', () => {
  test.each([
    ['SELEKT 1', 400, '62', 'SYNTAX_ERROR'],
    ['', 400, '62', 'SYNTAX_ERROR'],
    ['SELECT 1; SELECT 2', 400, '62', 'SYNTAX_ERROR'],
    ['SELECT * FROM nowhere', 404, '60', 'UNKNOWN_TABLE'],
    ['SELECT nothing', 404, '47', 'UNKNOWN_IDENTIFIER'],
    ['SELECT nosuchfunction()', 404, '46', 'UNKNOWN_FUNCTION'],
    ["SELECT toUInt8('x')", 400, '6', 'CANNOT_PARSE_TEXT'],
    ["SELECT throwIf(1, 'boom')", 500, '395', 'FUNCTION_THROW_IF_VALUE_IS_NON_ZERO'],
    ["SELECT * FROM file('/etc/passwd', 'LineAsString')", 500, '291', 'DATABASE_ACCESS_DENIED'],
    ["SELECT 1 INTO OUTFILE '/tmp/x'", 500, '309', 'INTO_OUTFILE_NOT_ALLOWED'],
  ])('%s is %i %s %s', async (body, status, code, name) => {
    const answer = await send({ body })
    expect(answer).toMatchObject({ status, headers: { 'x-clickhouse-exception-code': code } })
    expect(answer.text).toMatch(new RegExp(`^Code: ${code}\\. DB::Exception: .*\\(${name}\\) \\(version 26\\.`, 's'))
  })

  test('one in the middle of an answer is told at its end, and the answer is broken off', async () => {
    const body = 'SELECT number, throwIf(number = 900000) FROM numbers(1000000) FORMAT JSONEachRow'
    const answer = await send({ body })
    const tag = answer.headers['x-clickhouse-exception-tag']
    expect(answer).toMatchObject({ status: 200, broken: true })
    expect(answer.text).toMatch(
      new RegExp(`\r\n__exception__\r\n${tag}\r\nCode: 395\\.[\\s\\S]*\n\\d+ ${tag}\r\n__exception__\r\n$`),
    )
    // With its answer awaited, it has a status of its own.
    expect(await send({ query: { wait_end_of_query: '1' }, body })).toMatchObject({ status: 500 })
  })

  test('what a failed query had answered is not in the next answer', async () => {
    const body = 'SELECT number, throwIf(number = 900000) FROM numbers(1000000) FORMAT JSON'
    for (let round = 0; round < 3; round++) {
      expect((await send({ body })).status).toBe(500)
      for (let next = 0; next < 10; next++) expect((await ok({ body: 'SELECT 1' })).text).toBe('1\n')
    }
  })
})

describe('an insert', () => {
  test('has its rows in the body, behind the query or alone', async () => {
    await truncate()
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
    expect(await rowsOf('SELECT a, b FROM t ORDER BY a')).toBe(
      "1\tFORMAT CSV; \\'\n2\tdefault 2\n3\tit\\'s; FORMAT\n4\tü\n5\tv\n6\twx\n7\tdefault 7\n11\tpp\n12\tpp\n20\tdefault 20\n21\tdefault 21\n",
    )
  })

  test('without rows stores nothing', async () => {
    await truncate()
    await ok({ query: { query: 'INSERT INTO t FORMAT JSONEachRow' }, body: '' })
    expect(await rowsOf('SELECT count() FROM t')).toBe('0\n')
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
      'known_at Int64, partition Int32, offset Int64, batch Tuple(count Int32, events Array(Tuple(tenant Int32, source String, id String, shard Int64, type String, subject String, time DateTime64(3), time_given Bool, data String)))'
    const sql = `INSERT INTO raw SELECT known_at, partition, offset, event.tenant, event.id FROM (SELECT * FROM input('${structure}')) ARRAY JOIN tupleElement(batch, 'events') AS event FORMAT Avro`
    await ok({ query: { query: sql }, body: file })
    await ok({ query: { query: sql }, headers: { 'Content-Encoding': 'gzip' }, body: gzipSync(file) })
    await ok({ body: Buffer.concat([Buffer.from(`${sql}\n`), file]) })
    const row = `5\t6\t7\t9\t${every.toString('hex').toUpperCase()}\n`
    expect(await rowsOf('SELECT known_at, partition, offset, tenant, hex(id) FROM raw')).toBe(row.repeat(3))
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
    await truncate()
    const line = Buffer.from(`{"a":1,"b":"${'x'.repeat(1_000)}"}\n`.repeat(1_000))
    const before = rssOf(stack.clickhouse.pid)
    const sent = request(`${url}/`, { method: 'POST', agent: false })
    const answered = new Promise<number>((done, fail) => {
      sent.on('response', (response) => response.resume().on('end', () => done(response.statusCode ?? 0)))
      sent.on('error', fail)
    })
    sent.write('INSERT INTO t (a, b) FORMAT JSONEachRow\n')
    for (let block = 0; block < 200; block++)
      if (!sent.write(line)) await new Promise<void>((drained) => sent.once('drain', () => drained()))
    const grown = rssOf(stack.clickhouse.pid) - before
    sent.end()
    expect(await answered).toBe(200)
    expect(await rowsOf('SELECT count() FROM t')).toBe('200000\n')
    expect(grown).toBeLessThan(120)
  })

  test('that breaks off stores nothing', async () => {
    await truncate()
    const sent = request(`${url}/?query=${encodeURIComponent('INSERT INTO t (a) FORMAT JSONEachRow')}`, {
      method: 'POST',
      agent: false,
    })
    sent.on('error', () => undefined)
    sent.write('{"a":1}\n')
    await sleep(200)
    sent.destroy()
    await sleep(200)
    expect(await rowsOf('SELECT count() FROM t')).toBe('0\n')
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
    const before = rssOf(stack.clickhouse.pid)
    let bytes = 0
    let first = 0
    const began = performance.now()
    await new Promise<void>((done, fail) => {
      const sent = request(`${url}/`, { method: 'POST', agent: false }, (response) => {
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
    expect(rssOf(stack.clickhouse.pid) - before).toBeLessThan(300)
  }, 120_000)

  test('end in the engine when their reader goes away', async () => {
    await Promise.all(
      Array.from(
        { length: 12 },
        () =>
          new Promise<void>((gone) => {
            const sent = request(`${url}/`, { method: 'POST', agent: false }, (response) => {
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
    expect(await Promise.all(Array.from({ length: 12 }, () => rowsOf('SELECT 1')))).toEqual(
      Array.from({ length: 12 }, () => '1\n'),
    )
  })
})

describe('as @clickhouse/client speaks', () => {
  test('query, insert, exec, command, stream, ping', async () => {
    const client = createClient({
      url,
      log: { level: ClickHouseLogLevel.OFF },
      compression: { request: true, response: true },
    })
    await client.command({ query: 'CREATE TABLE spoken (n UInt32, s String) ENGINE = MergeTree ORDER BY n' })
    await client.insert({
      table: 'spoken',
      values: [
        { n: 1, s: 'ä' },
        { n: 2, s: "'" },
      ],
      format: 'JSONEachRow',
    })
    const result = await client.query({
      query: 'SELECT * FROM spoken ORDER BY n',
      clickhouse_settings: { max_threads: 1 },
    })
    expect(await result.json()).toMatchObject({
      data: [
        { n: 1, s: 'ä' },
        { n: 2, s: "'" },
      ],
      rows: 2,
    })
    const streamed = await client.query({ query: 'SELECT number AS n FROM numbers(200000)', format: 'JSONEachRow' })
    let rows = 0
    for await (const part of streamed.stream()) rows += part.length
    expect(rows).toBe(200_000)
    expect(await client.ping()).toEqual({ success: true })
    expect(await client.ping({ select: true })).toEqual({ success: true })
    await expect(client.query({ query: 'SELECT * FROM nowhere' })).rejects.toMatchObject({
      code: '60',
      type: 'UNKNOWN_TABLE',
    })
    await client.close()
  })
})

function zigzag(value: number): Buffer {
  let rest = (BigInt(value) << 1n) ^ (BigInt(value) >> 63n)
  const bytes: number[] = []
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  return Buffer.from([...bytes, Number(rest)])
}

/** Resident megabytes of a process, where /proc tells them. */
function rssOf(pid: number | undefined): number {
  if (process.platform !== 'linux') return 0
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024
}
