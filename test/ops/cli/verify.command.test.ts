import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { verifyCommand } from '../../../ops/cli/verify.command.ts'

const checked = { lines: 3, events: 41, seals: 1 }
const difference = { where: 'rating', line: 1, what: 'amount', expected: '11.26', found: '11.25' }
const ANSWERS: Record<string, object> = {
  '/api/v1/invoices/INV-000001/verification': { number: 'INV-000001', equal: true, difference: null, checked },
  '/api/v1/invoices/one/verification': { number: 'INV-000001', equal: true, difference: null, checked },
  '/api/v1/invoices/two/verification': { number: 'INV-000002', equal: false, difference, checked },
  '/api/v1/invoices/total/verification': {
    ...{ number: 'INV-000003', equal: false, checked },
    difference: { ...difference, line: null, where: 'total', what: 'subtotal' },
  },
  '/api/v1/invoices?limit=999': {
    invoices: [
      { id: 'early', period_end: '2026-11-01T00:00:00.000Z' },
      { id: 'one', period_end: '2026-12-01T00:00:00.000Z' },
    ],
    next: 'one',
  },
  '/api/v1/invoices?limit=999&after=one': {
    invoices: [
      { id: 'two', period_end: '2026-11-15T00:00:00.000Z' },
      { id: 'late', period_end: '2026-12-01T00:01:00.000Z' },
    ],
    next: null,
  },
}
const NOT_FOUND = { code: 'not_found', detail: 'There is no invoice with this id.' }

let server: Server
const keys: (string | undefined)[] = []
beforeAll(async () => {
  server = createServer((request, response) => {
    keys.push(request.headers.authorization)
    const answer = ANSWERS[request.url ?? '']
    response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json' })
    response.end(JSON.stringify(answer ?? NOT_FOUND))
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
})
afterAll(() => new Promise<unknown>((closed) => server.close(closed)))

async function verify(...argv: string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const code = await verifyCommand(argv, { TALLYLINE_URL: url, TALLYLINE_KEY: 'tly_test' }, { stdout, stderr })
  stdout.end()
  stderr.end()
  return { code, stdout: await text(stdout), stderr: await text(stderr) }
}

/** Issue 7: `npx tallyline verify INVOICE`. What the product answers is tested where it is computed. */
test('says equal, or the first difference, by id or number', async () => {
  expect(await verify('INV-000001')).toEqual({
    ...{ code: 0, stderr: '' },
    stdout: 'INV-000001: equal (3 lines, 41 events, 1 seals)\n',
  })
  expect(await verify('two')).toEqual({
    ...{ code: 1, stderr: '' },
    stdout: 'INV-000002: DIFFERS\n  line 1, rating, amount: expected 11.26, found 11.25\n',
  })
  expect((await verify('total')).stdout).toContain('  total, subtotal: expected 11.26, found 11.25\n')
  expect(keys.at(-1)).toBe('Bearer tly_test')
})

test('verifies all invoices of a month, page by page, and fails with any', async () => {
  expect(await verify('--all', '--period', '2026-11')).toEqual({
    ...{ code: 1, stderr: '' },
    stdout:
      'INV-000001: equal (3 lines, 41 events, 1 seals)\n' +
      'INV-000002: DIFFERS\n  line 1, rating, amount: expected 11.26, found 11.25\n' +
      '2 invoices: not all are equal\n',
  })
  expect(await verify('--all', '--period', '2030-01')).toMatchObject({ code: 0, stdout: '0 invoices: equal\n' })
})

test('tells what the product refuses', async () => {
  expect(await verify('nobody')).toMatchObject({ code: 1, stderr: expect.stringContaining('There is no invoice') })
})

test.each([[[]], [['a', 'b']], [['a', '--all']], [['--all']], [['--all', '--period', 'now']], [['--what']]])(
  '%j shows how it is used',
  async (argv) => {
    expect(await verify(...argv)).toMatchObject({ code: 2, stderr: expect.stringContaining('Usage: tallyline verify') })
  },
)
