import { ClickHouseLogLevel, createClient } from '@clickhouse/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Front, type Sent, startFront } from './front-client.ts'

let front: Front
let ok: Front['ok']
let send: Front['send']
beforeAll(async () => {
  front = await startFront()
  ;({ ok, send } = front)
})
afterAll(() => front.stop())

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
      "SELECT {s:String}, {l:Array(String)}, {n:Nullable(Int8)}, {t:Identifier} FROM (SELECT 1 AS a) WHERE '{s:String}' != ''"
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

describe('as @clickhouse/client speaks', () => {
  test('query, insert, exec, command, stream, ping', async () => {
    const client = createClient({
      url: front.url,
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
