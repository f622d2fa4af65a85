import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable, Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { answers, quoteCommand } from '../../../ops/cli/quote.command.ts'
import { COMMAND, launch } from '../../support/product.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 120_000 })

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tallyline-quote-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const caseOf = (quantity: string) =>
  JSON.stringify({ kind: 'price', currency: 'USD', price: { model: 'per_unit', unit_amount: '1' }, quantity })
const amountsIn = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { amount?: string; error?: { field: string } })
    .map(({ amount, error }) => amount ?? error?.field)

async function answered(...chunks: (string | Buffer)[]): Promise<string> {
  let text = ''
  for await (const part of answers(Readable.from(chunks, { objectMode: true }))) text += part
  return text
}

describe('tallyline quote (issue 7)', () => {
  test('answers a file line by line, in order, in a process without settings', async () => {
    const file = join(folder, 'cases.jsonl')
    writeFileSync(file, `${caseOf('1')}\nnonsense\n\n${caseOf('2')}`)
    const command = launch([COMMAND, 'quote', '--cases', file], { DATABASE_URL: 'postgres://nobody.invalid:1/x' })
    expect(await command.exited).toMatchObject({ code: 0 })
    expect(amountsIn(command.stdout())).toEqual(['1.00', 'case', '2.00'])
    expect(command.stderr()).toBe('')
  })

  test('reads standard input with -', async () => {
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()]
    stdin.end(`${caseOf('3')}\n`)
    expect(await quoteCommand(['--cases', '-'], { stdin, stdout, stderr })).toBe(0)
    expect(amountsIn(String(stdout.read()))).toEqual(['3.00'])
  })

  test('says what is wrong with the command itself', async () => {
    const run = async (...argv: string[]) => {
      const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()]
      const code = await quoteCommand(argv, { stdin, stdout, stderr })
      return { code, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') }
    }
    expect(await run('--cases', join(folder, 'none'))).toMatchObject({ code: 1, stderr: /There is no file/ })
    expect(await run('--cases', folder)).toMatchObject({ code: 1 })
    expect(await run()).toMatchObject({ code: 1, stderr: expect.stringContaining('Usage: tallyline quote') })
    expect(await run('--help')).toMatchObject({ code: 0, stdout: expect.stringContaining('Usage: tallyline quote') })
  })

  test('ends quietly when the reader of its answers has gone', async () => {
    const stdout = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })),
    })
    const streams = { stdin: Readable.from([`${caseOf('1')}\n`]), stdout, stderr: new PassThrough() }
    expect(await quoteCommand(['--cases', '-'], streams)).toBe(0)
  })
})

describe('lines', () => {
  test('may be cut anywhere, in the middle of a character too', async () => {
    const bytes = Buffer.from(`${caseOf('1')}\r\n{"kind":"é\u2028"}\n${caseOf('2')}\n`)
    const whole = await answered(bytes)
    expect(amountsIn(whole)).toEqual(['1.00', 'kind', '2.00'])
    const cut = Array.from(bytes, (_, index) => bytes.subarray(index, index + 1))
    expect(await answered(...cut)).toBe(whole)
  })

  test('that are blank have no answer', async () => {
    expect(amountsIn(await answered(`\n \t\r\n${caseOf('1')}\n\n`, '\r', `\n${caseOf('2')}\n \n  `))).toEqual([
      '1.00',
      '2.00',
    ])
    expect(await answered('\n\n', ' \n ')).toBe('')
  })

  test('the mark of a byte order is passed over', async () => {
    expect(amountsIn(await answered(`\uFEFF${caseOf('1')}\n`))).toEqual(['1.00'])
  })

  test('one that is too long is skipped, with an answer, and the next goes on', async () => {
    const much = 'x'.repeat(9 * 1024 * 1024)
    const text = await answered(`${caseOf('1')}\n${much}`, much, `${much}\n${caseOf('2')}\n${much}`, much)
    expect(amountsIn(text)).toEqual(['1.00', 'case', '2.00', 'case'])
    expect(text).toContain('send a total instead of events')
  })

  test('nothing in, nothing out', async () => {
    expect(await answered()).toBe('')
  })

  test('no more is read than was answered: a million lines need no more memory than a thousand', async () => {
    let given = 0
    async function* endless(): AsyncGenerator<string> {
      while (true) {
        given += 1
        yield `${caseOf(String(given))}\n`
      }
    }
    const seen: string[] = []
    for await (const part of answers(endless())) {
      seen.push(...amountsIn(part).map(String))
      expect(seen.length).toBe(given)
      if (given === 50) break
    }
    expect(seen.at(-1)).toBe('50.00')
  })
})
