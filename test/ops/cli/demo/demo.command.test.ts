import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { TRACE_HEADER } from '../../../../ops/cli/demo/trace-csv.ts'
import { demoCommand } from '../../../../ops/cli/demo.command.ts'
import { type Answer, problem, type Seen, startFake, wellBehaved } from './fake-product.ts'

const TEN_ROWS = Array.from({ length: 10 }, (_, index) => `2025-03-0${(index % 9) + 1} 00:00:00,1,2`)
const SOUND = [TRACE_HEADER, ...TEN_ROWS].join('\r\n')

function traceFile(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'tallyline-demo-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'trace.csv'), text)
  return join(folder, 'trace.csv')
}

/** Runs the command; what it starts "itself" is the fake. */
async function run(argv: string[], options: { env?: Record<string, string>; answer?: (seen: Seen) => Answer } = {}) {
  const fake = await startFake(options.answer ?? wellBehaved)
  onTestFinished(fake.stop)
  const out = { stdout: '', stderr: '', started: 0, stopped: 0 }
  const startOwn = async () => {
    out.started++
    const stop = async () => void out.stopped++
    return { url: fake.url, apiKey: 'tly_operator', stop }
  }
  const into = (name: 'stdout' | 'stderr') => ({ write: (text: string) => (out[name] += text) })
  const deps = { startOwn, stdout: into('stdout'), stderr: into('stderr'), isTty: false }
  const env = Object.fromEntries(
    Object.entries(options.env ?? {}).map(([name, value]) => [name, value.replace('FAKE', fake.url)]),
  )
  const exitCode = await demoCommand(argv, env, deps)
  return { ...out, exitCode, requests: fake.requests }
}

test('--json prints one object and nothing else, with numbers exact beyond 2^53', async () => {
  const { stdout, exitCode, started, stopped } = await run(['--json', '--trace', traceFile(SOUND)])
  const customer = (index: number) =>
    `"customer-${index}":{"events":1,"context_tokens":2182292,"generated_tokens":9007199254740993,` +
    `"lines":["20.00","6.55","5.29"],"total":"31.84"}`
  const customers = [...Array(10).keys()].map(customer).join(',')
  expect(stdout).toBe(`{"events":10,"total":"318.40","invoices":{${customers}}}\n`)
  expect({ exitCode, started, stopped }).toEqual({ exitCode: 0, started: 1, stopped: 1 })
})

test('the table shows each invoice with its lines, and the sum', async () => {
  const { stdout, stderr } = await run(['--trace', traceFile(SOUND)])
  expect(stdout).toContain(
    [
      'INV-000000  customer-0  2025-03-01 to 2025-04-01  paid',
      '  Base fee                                         20.00',
      '  Context tokens                 2,182,292          6.55',
      '  Generated tokens        9,007,199,254,740,993          5.29',
      '  Total                                USD         31.84',
    ].join('\n'),
  )
  expect(stdout.trimEnd().split('\n').at(-1)).toBe('10 invoices, 10 events, 318.40 USD')
  expect(stderr).toContain('demo: posting 10 events\ndemo: 10 of 10\n')
})

test("the tenant's own key does all but the tenant, and a second run sends the same", async () => {
  const file = traceFile(SOUND)
  const first = await run(['--trace', file])
  const second = await run(['--trace', file])
  const sent = ({ requests }: typeof first) =>
    requests.filter(({ method }) => method !== 'GET').map(({ method, path, body }) => ({ method, path, body }))
  expect(sent(second)).toEqual(sent(first))
  const [tenant, key, ...rest] = first.requests
  expect([tenant, key].map((seen) => seen?.headers.authorization)).toEqual([
    'Bearer tly_operator',
    'Bearer tly_operator',
  ])
  expect(tenant?.path).toMatch(/^\/tenants\/demo-[0-9a-f]{8}$/)
  expect(new Set(rest.map(({ headers }) => headers.authorization))).toEqual(new Set(['Bearer tly_tenant']))
  expect(rest.filter(({ path }) => path === '/subscriptions').map(({ body }) => body)[3]).toEqual({
    external_key: 'llm-demo-customer-3',
    customer: 'customer-3',
    plan: 'llm-demo',
    start: '2025-03-01T00:00:00.000Z',
    end: '2025-04-01T00:00:00.000Z',
  })
})

test('the environment names the product, then nothing is started', async () => {
  const env = { TALLYLINE_URL: 'FAKE', TALLYLINE_API_KEY: 'tly_given' }
  const { exitCode, started, requests } = await run(['--trace', traceFile(SOUND)], { env })
  expect({ exitCode, started }).toEqual({ exitCode: 0, started: 0 })
  expect(requests[0]?.headers.authorization).toBe('Bearer tly_given')
})

test('a broken row: exit 1, nothing sent, the file line and the reason', async () => {
  const file = traceFile([SOUND, '2025-03-01 00:00:00,x,2', '2025-03-01 00:00:00,1,2'].join('\r\n'))
  const { exitCode, stdout, stderr, requests, started } = await run(['--json', '--trace', file])
  expect({ exitCode, stdout, started, requests }).toEqual({ exitCode: 1, stdout: '', started: 0, requests: [] })
  expect(stderr).toContain(`${file}, line 12: ContextTokens "x" is not a whole number`)
  expect(stderr).toContain('Nothing was sent: 1 broken row.')
})

test('--skip-bad goes on, counts it, and the rows behind it keep their ids', async () => {
  const file = traceFile([TRACE_HEADER, 'oops', ...TEN_ROWS].join('\n'))
  const { exitCode, stderr, requests } = await run(['--skip-bad', '--trace', file])
  expect(exitCode).toBe(0)
  expect(stderr).toContain('demo: skipped 1 broken row\n')
  const events = requests.find(({ path }) => path === '/events')!.body as { id: string; subject: string }[]
  expect(events[0]).toMatchObject({ id: 'row-1', subject: 'customer-1' })
  expect(events.at(-1)).toMatchObject({ id: 'row-10', subject: 'customer-0' })
})

test.each([
  ['an unknown option', ['--tracefile', 'x'], {}, /Unknown option '--tracefile'[\s\S]*Usage:/],
  ['a file that is not there', ['--trace', '/nowhere/x.csv'], {}, /^Cannot read the trace: ENOENT/],
  ['half of the environment', [], { TALLYLINE_URL: 'http://x' }, /^Set both TALLYLINE_URL and TALLYLINE_API_KEY/],
  [
    'an address that is none',
    [],
    { TALLYLINE_URL: 'x', TALLYLINE_API_KEY: 'k' },
    /^TALLYLINE_URL is no http address: x/,
  ],
])('%s is a sentence and exit 1', async (_, argv, env, sentence) => {
  const { exitCode, stdout, stderr, started, stopped } = await run(argv, { env })
  expect({ exitCode, stdout, started, stopped }).toEqual({ exitCode: 1, stdout: '', started: 0, stopped: 0 })
  expect(stderr).toMatch(sentence)
})

test.each([
  ['', 'The trace is empty.\n'],
  [`${TRACE_HEADER}\n`, 'The trace has a header but no data rows.\n'],
])('the trace %j is a sentence and exit 1', async (text, sentence) => {
  const { exitCode, stderr, requests } = await run(['--trace', traceFile(text), '--skip-bad'])
  expect({ exitCode, stderr, requests }).toEqual({ exitCode: 1, stderr: sentence, requests: [] })
})

test('a month that has not ended is refused before anything is sent', async () => {
  const trace = `${TRACE_HEADER}\n${new Date().toISOString()},1,2`
  const { exitCode, stderr, requests } = await run(['--trace', traceFile(trace)])
  expect({ exitCode, requests }).toEqual({ exitCode: 1, requests: [] })
  expect(stderr).toContain('which cannot be billed before')
})

test.each([
  [
    'a key without rights',
    (seen: Seen) => (seen.path.startsWith('/tenants') ? problem(403, 'forbidden') : wellBehaved(seen)),
    '403 forbidden',
  ],
  [
    'a failed run',
    (seen: Seen) => withBody(seen, '/billing-runs/run-1', { state: 'failed', error: 'no seal' }),
    'Billing run run-1 failed: no seal',
  ],
  [
    'a parked subscription',
    (seen: Seen) => withBody(seen, '/billing-runs/run-1', { parked: [{ reason: 'no price' }] }),
    'no price',
  ],
  [
    'an open invoice',
    (seen: Seen) => withBody(seen, '/invoices/invoice-4', { state: 'draft' }),
    'Invoice INV-000004 is draft, not paid.',
  ],
  [
    'a missing invoice',
    (seen: Seen) => withBody(seen, '/invoices?limit=100', { next: null }),
    'There are 5 invoices instead of 10.',
  ],
  [
    'lost events',
    (seen: Seen) => withBody(seen, '/invoices/invoice-4', { lines: [] }),
    'The invoices count 9 events, but 10 were sent.',
  ],
])('%s: exit 1, nothing on stdout, and what was started is stopped', async (_, answer, sentence) => {
  const { exitCode, stdout, stderr, stopped } = await run(['--json', '--trace', traceFile(SOUND)], { answer })
  expect({ exitCode, stdout, stopped }).toEqual({ exitCode: 1, stdout: '', stopped: 1 })
  expect(stderr).toContain(sentence)
})

test('--help', async () => {
  const { exitCode, stdout, started } = await run(['--help'])
  expect({ exitCode, started }).toEqual({ exitCode: 0, started: 0 })
  expect(stdout).toMatch(/^Usage: tallyline demo/)
})

function withBody(seen: Seen, path: string, members: object): Answer {
  const answer = wellBehaved(seen)
  if (seen.path !== path || answer === 'hang up') return answer
  return { ...answer, body: { ...(answer.body as object), ...members } }
}
