import { parseArgs } from 'node:util'
import { Type } from 'typebox'
import { Check } from 'typebox/value'
import { createImportClient, type ImportClient, refused } from './import/import-client.ts'
import type { Env } from './settings.ts'

const HELP = `Usage: tallyline verify INVOICE [options]
       tallyline verify --all --period 2026-11 [options]

Asks a running product to recompute an invoice, by id or number, from the raw events, the plan and the seal. Says "equal",
or shows the first difference: where it is, what comes out now, and what is stored. It changes nothing.

  --all --period MONTH  all invoices whose period ends in the month (UTC) or at its end
  --url URL             default: TALLYLINE_URL, or http://127.0.0.1:8081
  --key KEY             default: TALLYLINE_KEY; with billing:invoices:read
  --help                print this

Ends with 0 when everything is equal, 1 when something differs, 2 when the command was used wrongly.
`
const DEFAULT_URL = 'http://127.0.0.1:8081'

type Streams = { stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }

/** Wrong use of the command. */
class UsageError extends Error {}

export async function verifyCommand(argv: string[], env: Env, { stdout, stderr }: Streams): Promise<number> {
  try {
    const asked = readOptions(argv, env)
    if (asked === 'help') {
      stdout.write(HELP)
      return 0
    }
    const client = createImportClient(asked)
    return await ('invoice' in asked ? verifyOne(client, asked.invoice, stdout) : verifyAll(client, asked, stdout))
  } catch (error) {
    const wrongUse = error instanceof UsageError
    stderr.write(`${error instanceof Error ? error.message : String(error)}\n${wrongUse ? `\n${HELP}` : ''}`)
    return wrongUse ? 2 : 1
  }
}

type Month = { fromMs: number; toMs: number }
type Asked = { url: string; key: string } & ({ invoice: string } | Month)

function readOptions(argv: string[], env: Env): Asked | 'help' {
  const { values, positionals } = parse(argv)
  if (values.help) return 'help'
  const url = (values.url ?? (env.TALLYLINE_URL?.trim() || DEFAULT_URL)).replace(/\/+$/, '')
  if (!URL.canParse(url) || !/^https?:/i.test(url)) throw new UsageError(`This is no http address: ${url}`)
  const key = values.key ?? env.TALLYLINE_KEY?.trim()
  if (!key) throw new UsageError('Name an API key: --key, or TALLYLINE_KEY.')
  const [invoice, ...more] = positionals
  if (more.length > 0 || (invoice === undefined) !== (values.all === true)) {
    throw new UsageError('Name one invoice, or --all with --period.')
  }
  if (invoice !== undefined) return { url, key, invoice }
  const month = monthOf(values.period)
  if (month === undefined) throw new UsageError('Name the month: --period 2026-11.')
  return { url, key, ...month }
}

function parse(argv: string[]) {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  try {
    const options = { url: text, key: text, period: text, all: flag, help: flag }
    return parseArgs({ args: argv, allowPositionals: true, options })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function monthOf(text: string | undefined): Month | undefined {
  const [, year, month] = /^(\d{4})-(0[1-9]|1[0-2])$/.exec(text ?? '') ?? []
  if (!year || !month) return undefined
  return { fromMs: Date.UTC(Number(year), Number(month) - 1), toMs: Date.UTC(Number(year), Number(month)) }
}

const Verified = Type.Object({
  number: Type.String(),
  equal: Type.Boolean(),
  difference: Type.Union([
    Type.Object({
      where: Type.String(),
      line: Type.Union([Type.Integer(), Type.Null()]),
      what: Type.String(),
      expected: Type.String(),
      found: Type.String(),
    }),
    Type.Null(),
  ]),
  checked: Type.Object({ lines: Type.Integer(), events: Type.Integer(), seals: Type.Integer() }),
})
const Listed = Type.Object({
  invoices: Type.Array(Type.Object({ id: Type.String(), period_end: Type.String() })),
  next: Type.Union([Type.String(), Type.Null()]),
})

async function verifyOne(client: ImportClient, invoice: string, stdout: NodeJS.WritableStream): Promise<number> {
  const path = `/invoices/${encodeURIComponent(invoice)}/verification`
  const answer = await client.call('GET', path)
  if (answer.status !== 200 || !Check(Verified, answer.body)) throw refused(`GET ${path}`, answer)
  const { number, difference, checked } = answer.body
  const count = `${checked.lines} lines, ${checked.events} events, ${checked.seals} seals`
  stdout.write(`${number}: ${difference === null ? `equal (${count})` : 'DIFFERS'}\n`)
  if (difference === null) return 0
  const { where, line, what, expected, found } = difference
  stdout.write(`  ${line === null ? '' : `line ${line}, `}${where}, ${what}: expected ${expected}, found ${found}\n`)
  return 1
}

/** Invoices come in the order in which they were made. */
async function verifyAll(client: ImportClient, month: Month, stdout: NodeJS.WritableStream): Promise<number> {
  let [code, count] = [0, 0]
  for (let after: string | null = ''; after !== null; ) {
    const path = `/invoices?limit=999${after === '' ? '' : `&after=${after}`}`
    const answer = await client.call('GET', path)
    if (answer.status !== 200 || !Check(Listed, answer.body)) throw refused(`GET ${path}`, answer)
    for (const { id, period_end } of answer.body.invoices) {
      const endMs = Date.parse(period_end)
      if (endMs <= month.fromMs || endMs > month.toMs) continue
      count += 1
      code = Math.max(code, await verifyOne(client, id, stdout))
    }
    after = answer.body.next
  }
  stdout.write(`${count} invoices: ${code === 0 ? 'equal' : 'not all are equal'}\n`)
  return code
}
