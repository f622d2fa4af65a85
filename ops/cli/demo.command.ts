import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { generatedTraceCsv } from './demo/generated-trace.ts'
import { summaryJson, summaryTable } from './demo/invoice-summary.ts'
import { createReport, type Writable } from './demo/progress.ts'
import { type DemoTrace, runDemo } from './demo/run-demo.ts'
import { type BadRow, demoTenantSlug, parseTraceCsv } from './demo/trace-csv.ts'

const USAGE = `Usage: tallyline demo [--trace FILE] [--skip-bad] [--json]

Turns a usage trace into paid invoices over the public API and prints them.

  --trace FILE  a CSV with TIMESTAMP,ContextTokens,GeneratedTokens; without it a generated month of LLM traffic
  --skip-bad    leave out broken rows instead of refusing the file
  --json        print one JSON object instead of the table
  --help        print this

TALLYLINE_URL and TALLYLINE_API_KEY (an operator's key) name a running product. Without them the demo starts its own on
the data folder TALLYLINE_DATA.
`
const SHOWN_BAD_ROWS = 10

export type DemoDeps = {
  /** Starts the product on a free port; the key is an operator's. */
  startOwn: () => Promise<Product & { stop(): Promise<void> }>
  stdout: Writable
  stderr: Writable
  /** Whether stderr is a terminal. */
  isTty: boolean
  /** Ends the demo early; what it started is still stopped in order. */
  signal?: AbortSignal
}
type Product = { url: string; apiKey: string }
type Env = Readonly<Record<string, string | undefined>>

/** Everything that goes wrong is one sentence on stderr and exit code 1. */
export async function demoCommand(argv: string[], env: Env, deps: DemoDeps): Promise<number> {
  const options = readOptions(argv)
  if (typeof options === 'string') {
    deps.stderr.write(`${options}\n\n${USAGE}`)
    return 1
  }
  if (options.help) {
    deps.stdout.write(USAGE)
    return 0
  }
  try {
    const trace = await readTrace(options, deps.stderr)
    if (!trace) return 1
    await withProduct(env, deps, async (product) => {
      const report = createReport(deps.stderr, deps.isTty)
      const summary = await runDemo({ ...product, trace, report, ...(deps.signal ? { signal: deps.signal } : {}) })
      deps.stdout.write(options.json ? `${summaryJson(summary)}\n` : summaryTable(summary))
    })
    return 0
  } catch (error) {
    const sentence = error instanceof Error ? error.message : String(error)
    const clearBar = deps.isTty ? '\r\u001b[K' : ''
    deps.stderr.write(`${clearBar}${deps.signal?.aborted ? 'Interrupted.' : sentence}\n`)
    return 1
  }
}

type Options = { trace: string | undefined; skipBad: boolean; json: boolean; help: boolean }

function readOptions(argv: string[]): Options | string {
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        trace: { type: 'string' },
        'skip-bad': { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    return { trace: values.trace, skipBad: values['skip-bad'], json: values.json, help: values.help }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** The trace, or nothing after its broken rows were told: then not one event may be sent. */
async function readTrace({ trace: file, skipBad }: Options, stderr: Writable): Promise<DemoTrace | undefined> {
  const bytes = file === undefined ? Buffer.from(generatedTraceCsv()) : await readTraceFile(file)
  const { rows, badRows } = parseTraceCsv(bytes.toString('utf8'))
  for (const { lineNumber, reason } of badRows.slice(0, SHOWN_BAD_ROWS)) {
    stderr.write(`${file}, line ${lineNumber}: ${reason}\n`)
  }
  if (badRows.length > 0) stderr.write(`${badRowsSentence(badRows, skipBad)}\n`)
  if (badRows.length > 0 && !skipBad) return undefined
  if (rows.length === 0) throw new Error('The trace has no row that can be used.')
  return { tenantSlug: demoTenantSlug(bytes), rows }
}

async function readTraceFile(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (cause) {
    throw new Error(`Cannot read the trace: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

function badRowsSentence(badRows: readonly BadRow[], skipBad: boolean): string {
  const count = `${badRows.length} broken ${badRows.length === 1 ? 'row' : 'rows'}`
  return skipBad ? `demo: skipped ${count}` : `Nothing was sent: ${count}. --skip-bad leaves them out.`
}

/** The product named by the environment, or one of our own, which is stopped whatever happens. */
async function withProduct(env: Env, deps: DemoDeps, work: (product: Product) => Promise<void>): Promise<void> {
  const url = env.TALLYLINE_URL?.trim() ?? ''
  const apiKey = env.TALLYLINE_API_KEY?.trim() ?? ''
  if (Boolean(url) !== Boolean(apiKey)) {
    throw new Error('Set both TALLYLINE_URL and TALLYLINE_API_KEY, or neither of them.')
  }
  if (url) {
    if (!URL.canParse(url) || !/^https?:/i.test(url)) throw new Error(`TALLYLINE_URL is no http address: ${url}`)
    return work({ url, apiKey })
  }
  const own = await deps.startOwn()
  try {
    await work(own)
  } catch (error) {
    // What went wrong first is what there is to tell, even if stopping fails as well.
    await own.stop().catch(() => undefined)
    throw error
  }
  await own.stop()
}
