import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { importCommand } from '../../../../ops/cli/import.command.ts'
import { type Answer, problem, type Seen, startFake } from '../demo/fake-product.ts'

const ROWS = 2_500
const line = (row: number) =>
  JSON.stringify({ id: `row-${row}`, source: 's', type: 't', subject: 'c', data: { n: row } })
const LINES = Array.from({ length: ROWS }, (_, index) => line(index + 1))

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tallyline-import-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
})

function fileOf(name: string, text: string): string {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

const isEvents = ({ path }: Seen) => path.endsWith('/events')
const idsOf = ({ body }: Seen) => (body as { id: string }[]).map(({ id }) => id)

/** A product that takes everything. */
function takeAll(seen: Seen): Answer {
  if (!isEvents(seen)) return problem(404, 'not_found')
  return { status: 202, body: { outcomes: idsOf(seen).map((id) => ({ id, outcome: 'accepted' })) } }
}

/** Runs the command against a product at an address. */
async function runAt(url: string, argv: string[], isTty = false) {
  const out = { stdout: '', stderr: '' }
  const into = (name: 'stdout' | 'stderr') => ({ write: (text: string) => (out[name] += text) })
  let nowMs = 0
  const deps = { stdout: into('stdout'), stderr: into('stderr'), isTty, now: () => (nowMs += 6_000) }
  const env = { TALLYLINE_URL: `${url}/`, TALLYLINE_KEY: 'tly_a_secret' }
  return { code: await importCommand(argv, env, deps), ...out }
}

/** Runs the command against a fake of its own. */
async function run(argv: string[], answer: (seen: Seen) => Answer = takeAll, isTty = false) {
  const fake = await startFake(answer)
  onTestFinished(fake.stop)
  const ended = await runAt(fake.url, argv, isTty)
  return { ...ended, requests: fake.requests, sent: fake.requests.filter(isEvents) }
}

const totals = (stdout: string) => stdout.split('\n')[0]
const ACCEPTED = `accepted ${ROWS}, duplicate 0, rejected 0, quota exceeded 0, not sent 0`

describe('sending', () => {
  test('every row once, in batches of a thousand, gzipped, under the key', async () => {
    const { code, stdout, stderr, sent } = await run([fileOf('a.ndjson', LINES.join('\n'))])
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${ACCEPTED}\n` })
    expect(stderr).toContain(`import: 1000 of ${ROWS} rows\n`)
    expect(sent.map(({ body }) => (body as object[]).length).sort()).toEqual([1000, 1000, 500])
    expect(new Set(sent.flatMap(idsOf)).size).toBe(ROWS)
    for (const { headers } of sent)
      expect(headers).toMatchObject({ authorization: 'Bearer tly_a_secret', 'content-encoding': 'gzip' })
  })

  test('a bar in a terminal', async () => {
    const { stderr } = await run([fileOf('a.ndjson', LINES.join('\n'))], takeAll, true)
    expect(stderr).toContain(`\r[${'#'.repeat(32)}] ${ROWS} of ${ROWS} rows\n`)
  })

  test('what unpacks to more than the product takes goes as it is', async () => {
    const same = JSON.stringify({ id: 'x', type: 't', subject: 'c', source: 's', data: { text: 'a'.repeat(1_000) } })
    const { sent } = await run([fileOf('a.ndjson', Array(1_000).fill(same).join('\n'))])
    expect(sent[0]?.headers['content-encoding']).toBeUndefined()
  })

  test('after 429, 503, a failed event and a broken connection: the same ids again', async () => {
    const tries: Record<string, number> = {}
    const troubles: Answer[] = [
      { ...(problem(429, 'overloaded') as object), status: 429, headers: { 'retry-after': '0' } },
      problem(503, 'unavailable', { outcomes: [{ outcome: 'failed' }] }),
      'hang up',
      { status: 502, body: 'no product' },
    ]
    const { code, stdout, sent } = await run([fileOf('a.ndjson', LINES.join('\n'))], (seen) => {
      if (!isEvents(seen)) return problem(404, 'not_found')
      const first = idsOf(seen)[0] ?? ''
      const count = tries[first] ?? 0
      tries[first] = count + 1
      return troubles[count] ?? takeAll(seen)
    })
    expect({ code, totals: totals(stdout) }).toEqual({ code: 0, totals: ACCEPTED })
    expect(Object.values(tries)).toEqual([5, 5, 5])
    const bodies = sent.map((seen) => idsOf(seen).join())
    expect(new Set(bodies).size).toBe(3)
  })

  test('a key that the product does not take ends it at once', async () => {
    const { code, stderr, requests } = await run([fileOf('a.ndjson', line(1))], () => problem(401, 'unauthenticated'))
    expect({ code, requests: requests.length }).toEqual({ code: 1, requests: 1 })
    expect(stderr).toContain('was answered with 401 unauthenticated')
  })
})

describe('decimals', () => {
  const schema = {
    type: 'record',
    name: 'T',
    fields: [{ name: 'cost', type: { type: 'bytes', logicalType: 'decimal', precision: 20, scale: 9 } }],
  }
  test('go as the text that stands in the file, because the type asks for it', async () => {
    const file = fileOf('a.ndjson', '{"id":"a","type":"a b","source":"s","subject":"c","data":{"cost":0.10,"n":0.10}}')
    const { sent, requests } = await run([file], (seen) =>
      seen.path === '/event-types/a%20b' ? { status: 200, body: { type: 'a b', version: 1, schema } } : takeAll(seen),
    )
    expect(sent[0]?.body).toMatchObject([{ data: { cost: '0.10', n: 0.1 } }])
    expect(requests.filter((seen) => !isEvents(seen))).toHaveLength(1)
  })
})

describe('rows that are refused', () => {
  const lines = [line(1), '{"id":', line(3), line(4), line(5)]
  const refuse = (seen: Seen): Answer => {
    if (!isEvents(seen)) return problem(404, 'not_found')
    const outcomes = [
      { outcome: 'accepted' },
      { outcome: 'rejected', code: 'unknown_field', path: 'data.n', message: 'is not declared' },
      { outcome: 'duplicate' },
      { outcome: 'quota_exceeded', quota_remaining: '0' },
    ]
    return problem(429, 'quota_exceeded', { outcomes }) as Answer
  }

  test('stand with their reason in FILE.rejected.ndjson, in the order of the file', async () => {
    const file = fileOf('a.ndjson', lines.join('\n'))
    const { code, stdout } = await run([file], refuse)
    expect({ code, stdout }).toEqual({
      code: 1,
      stdout:
        'accepted 1, duplicate 1, rejected 1, quota exceeded 1, not sent 1\n' +
        `Refused rows: ${file}.rejected.ndjson\n`,
    })
    const refused = readFileSync(`${file}.rejected.ndjson`, 'utf8').trimEnd().split('\n')
    expect(refused.map((one) => JSON.parse(one) as object)).toMatchObject([
      { row: 2, code: 'invalid_json', cells: '{"id":' },
      { row: 3, code: 'unknown_field', path: 'data.n', message: 'is not declared', event: { id: 'row-3' } },
      { row: 5, code: 'quota_exceeded', event: { id: 'row-5', data: { n: 5 } } },
    ])
    expect(existsSync(`${file}.tallyline-import`)).toBe(false)
    // Another import of the file begins the list anew.
    expect((await run([file])).code).toBe(1)
    const later = readFileSync(`${file}.rejected.ndjson`, 'utf8').trimEnd().split('\n')
    expect(later).toHaveLength(1)
  })
})

describe('an import that ended early', () => {
  const stopAfterFirst = (seen: Seen): Answer => {
    if (!isEvents(seen)) return problem(404, 'not_found')
    return idsOf(seen)[0] === 'row-1' ? takeAll(seen) : problem(403, 'forbidden')
  }

  test('goes on after the last row before which all were answered', async () => {
    let answer = stopAfterFirst
    const fake = await startFake((seen) => answer(seen))
    onTestFinished(fake.stop)
    const file = fileOf('a.ndjson', LINES.with(4, '{').with(2_000, '{').join('\n'))
    const first = await runAt(fake.url, [file])
    expect(first.code).toBe(1)
    expect(first.stderr).toContain('was answered with 403 forbidden')
    const state = readFileSync(`${file}.tallyline-import`, 'utf8')
    expect(JSON.parse(state)).toMatchObject({ rows_done: 1_000, totals: { accepted: 999, broken: 1 } })
    expect(state).not.toContain('secret')
    // Written behind those rows before a crash: cut off, since the rows are read again.
    appendFileSync(`${file}.rejected.ndjson`, '{"row":2001}\n')
    answer = takeAll
    const before = fake.requests.length
    const { code, stdout, stderr } = await runAt(fake.url, [file])
    expect(stderr).toContain('going on after row 1000\n')
    expect({ code, totals: totals(stdout) }).toEqual({
      code: 1,
      totals: `accepted ${ROWS - 2}, duplicate 0, rejected 0, quota exceeded 0, not sent 2`,
    })
    const ids = fake.requests.slice(before).filter(isEvents).flatMap(idsOf)
    expect(ids).not.toContain('row-1000')
    expect(ids).toHaveLength(ROWS - 1_001)
    const rows = readFileSync(`${file}.rejected.ndjson`, 'utf8').trimEnd().split('\n')
    expect(rows.map((one) => (JSON.parse(one) as { row: number }).row)).toEqual([5, 2_001])
  })

  test('is not gone on with for another file, key or product', async () => {
    const file = fileOf('a.ndjson', LINES.join('\n'))
    await run([file], stopAfterFirst)
    const { code, stderr, requests } = await run([file])
    expect({ code, requests }).toEqual({ code: 2, requests: [] })
    expect(stderr).toContain('is the state of another import')
    expect((await run([file, '--state', join(folder, 'other')])).code).toBe(0)
  })
})

describe('wrong use is a sentence and exit 2, and nothing is sent', () => {
  const csv = 'customer,n\nc,1\n'
  test.each<[string, string[], RegExp]>([
    ['no file', [], /^Name one file\./],
    ['two files', ['a.csv', 'b.csv'], /^Name one file\./],
    ['an unknown option', ['a.csv', '--fast'], /^Unknown option '--fast'[\s\S]*Usage:/],
    ['a file of no known kind', ['a.xlsx'], /^Say with --format what .*a\.xlsx is/],
    ['an address that is none', ['a.csv', '--url', 'x'], /^This is no http address: x/],
    ['a file that is not there', ['none.csv'], /^There is no file .*none\.csv\./],
    ['an empty file', ['empty.csv'], /is empty\./],
    ['a mapping that is not there', ['a.csv', '--map', 'none.json'], /^Cannot read the mapping: ENOENT/],
    ['columns with other names', ['a.csv'], /The file has no column type, subject, data\.…:/],
    [
      'a mapping of another file',
      ['a.csv', '--map', 'other.json'],
      /names the column user, which the file does not have/,
    ],
    ['no Parquet', ['a.parquet'], /Cannot read .*a\.parquet as parquet: /],
    ['a row with more columns than the header', ['long.csv', '--map', 'map.json'], /Cannot read .*long\.csv as csv: /],
  ])('%s', async (_, argv, sentence) => {
    const mapping = { source: { constant: 's' }, type: { constant: 't' }, subject: 'customer', data: { n: 'n' } }
    for (const [name, text] of [
      ...[
        ['a.csv', csv],
        ['long.csv', `${csv}c,1,2\n`],
        ['empty.csv', ''],
        ['a.parquet', csv],
        ['a.xlsx', csv],
      ],
      ...[
        ['map.json', JSON.stringify(mapping)],
        ['other.json', JSON.stringify({ ...mapping, subject: 'user' })],
      ],
    ] as [string, string][])
      fileOf(name, text)
    const inFolder = argv.map((one) => (/\.\w+$/.test(one) ? join(folder, one) : one))
    const { code, stdout, stderr, requests } = await run(inFolder)
    expect({ code, stdout, requests }).toEqual({ code: 2, stdout: '', requests: [] })
    expect(stderr.replace(/^import: reading .*\n/, '')).toMatch(sentence)
  })

  test('no key', async () => {
    const out = { stderr: '' }
    const stderr = { write: (text: string) => (out.stderr += text) }
    const deps = { stdout: stderr, stderr, isTty: false, now: () => 0 }
    expect(await importCommand([fileOf('a.csv', csv)], {}, deps)).toBe(2)
    expect(out.stderr).toMatch(/^Name an API key: --key, or TALLYLINE_KEY\.[\s\S]*Usage:/)
  })
})

describe('--dry-run', () => {
  test('shows the first three events of a CSV and sends nothing', async () => {
    const header = 'source,type,subject,time,data.n,data.model,data.ok'
    const rows = [1, 2, 3, 4].map((n) => `s,t,c-${n},2025-03-01 10:00:0${n},${n}.50,"a ""b"", ${n}",${n < 3}`)
    const file = fileOf('a{1,2}*.csv', [`\uFEFF${header}`, ...rows].join('\r\n'))
    const { code, stdout, sent } = await run([file, '--dry-run'])
    expect({ code, sent }).toEqual({ code: 0, sent: [] })
    const shown = stdout.trimEnd().split('\n')
    expect(shown.map((one) => JSON.parse(one) as object)).toMatchObject(
      [1, 2, 3].map((n) => ({
        ...{ source: 's', type: 't', subject: `c-${n}`, time: `2025-03-01T10:00:0${n}Z` },
        data: { n: n + 0.5, model: `a "b", ${n}`, ok: n < 3 },
      })),
    )
    expect(existsSync(`${file}.tallyline-import`)).toBe(false)
  })

  test('tells of a row what is wrong with it', async () => {
    const { code, stdout } = await run([fileOf('a.ndjson', '{"id"\n'), '--dry-run'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^row 1 cannot be sent: /)
  })
})

test('--help', async () => {
  const { code, stdout } = await run(['--help'])
  expect(code).toBe(0)
  expect(stdout).toMatch(/^Usage: tallyline import FILE/)
})
