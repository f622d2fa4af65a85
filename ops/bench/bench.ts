import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { packageRoot } from '../../schemas/files.ts'
import { startGuard } from '../stack/guard.ts'
import { type Stack, startStack } from '../stack/stack.ts'
import { startChild } from './child.ts'
import { isFact, type Line } from './fact.ts'
import { type BenchServers, EMBEDDED_ONLY, type FigureInput, type FigureName, PACED, SERVERS_ONLY } from './figure.ts'
import { thisMachine } from './machine.ts'
import { type Options, readOptions, USAGE } from './options.ts'
import { withTable } from './readme.ts'
import { mergeResults, type Result, tableOf } from './result.ts'
import type { Sizes } from './sizes.ts'

const README = join(packageRoot(), 'README.md')

/** Returns the exit code. */
async function main(argv: string[]): Promise<number> {
  const options = readOptions(argv, new Date().toISOString().slice(0, 10))
  if (!options) {
    process.stdout.write(USAGE)
    return 0
  }
  // Before minutes of work, not after.
  if (options.readme) withTable(readFileSync(README, 'utf8'), '')
  const result = options.from ? mergeResults(options.from.map(readResult)) : await runAll(options)
  const json = `${JSON.stringify(result)}\n`
  process.stdout.write(options.json ? json : tableOf(result))
  if (options.out !== undefined) writeFileSync(options.out, json)
  if (options.readme) writeFileSync(README, withTable(readFileSync(README, 'utf8'), tableOf(result)))
  return 0
}

function readResult(file: string): Result {
  return JSON.parse(readFileSync(file, 'utf8')) as Result
}

async function runAll({ modes, figures, sizes, size, date }: Options): Promise<Result> {
  const guard = startGuard()
  const folder = makeFolder()
  guard.watchFolder(folder)
  const lines: Line[] = []
  let stack: Stack | undefined
  try {
    for (const mode of modes) {
      // Not earlier: idle servers would take their share of the cores from the embedded figures.
      if (mode === 'servers' && figures.some((figure) => !EMBEDDED_ONLY.includes(figure))) stack = await startServers()
      const wanted = figures.filter((figure) => !(mode === 'embedded' ? SERVERS_ONLY : EMBEDDED_ONLY).includes(figure))
      const servers = stack ? serversOf(stack) : undefined
      for (const group of groupsOf(wanted, sizes))
        lines.push(...(await runFigures(group, { mode, sizes, folder: makeFolder(folder), servers })))
    }
    const by = stack ? { by: stack.by, servers: Object.keys(stack.env) as (keyof Stack['env'])[] } : undefined
    const rows = lines.flatMap((line) => (isFact(line) ? [] : [line]))
    return { date, size, sizes, machine: thisMachine(), stack: by, rows, facts: lines.filter(isFact) }
  } finally {
    await stack?.stop()
    rmSync(folder, { recursive: true, force: true })
    await guard.dismiss()
  }
}

function startServers(): Promise<Stack> {
  say('starting servers')
  return startStack()
}

function serversOf({ env, clickhouse, postgres }: Stack): BenchServers {
  return {
    env: env as BenchServers['env'],
    pids: {
      ...(clickhouse.pid === undefined ? {} : { clickhouse: clickhouse.pid }),
      ...(postgres.pid === undefined ? {} : { postgres: postgres.pid }),
    },
  }
}

/** Figures that share a process: none but paced ones of a smoke run. */
function groupsOf(figures: readonly FigureName[], sizes: Sizes): FigureName[][] {
  if (!sizes.oneWorld) return figures.map((figure) => [figure])
  const paced = figures.filter((figure) => PACED.includes(figure))
  const others = figures.filter((figure) => !PACED.includes(figure)).map((figure) => [figure])
  return paced.length > 0 ? [...others, paced] : others
}

async function runFigures(figures: readonly FigureName[], input: Omit<FigureInput, 'figure'>): Promise<Line[]> {
  const script = new URL('./figure-process.ts', import.meta.url)
  let title = input.mode as string
  const worker = startChild(script, join(input.folder, 'figure.log'), (note) => say(`${title}: ${note}`))
  const lines: Line[] = []
  try {
    for (const figure of figures) {
      title = `${input.mode} ${figure}`
      say(title)
      lines.push(...(await worker.ask<Line[]>('run', { ...input, figure })))
    }
    return lines
  } catch (cause) {
    throw new Error(`${title} failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  } finally {
    await worker.stop()
    rmSync(input.folder, { recursive: true, force: true })
  }
}

function makeFolder(parent?: string): string {
  const folder = mkdtempSync(join(parent ?? tmpdir(), parent ? 'figure-' : 'tallyline-bench-'))
  // As root, Postgres runs as another user, who must be able to enter.
  if (process.getuid?.() === 0) chmodSync(folder, 0o711)
  return folder
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`)
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
  },
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  },
)
