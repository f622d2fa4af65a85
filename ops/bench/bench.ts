import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startGuard } from '../stack/guard.ts'
import { type Stack, startStack } from '../stack/stack.ts'
import { startChild } from './child.ts'
import { type BenchServers, type FigureInput, SERVERS_ONLY } from './figure.ts'
import { thisMachine } from './machine.ts'
import type { Row } from './measure.ts'
import { type Options, readOptions, USAGE } from './options.ts'
import { withTable } from './readme.ts'
import { type Result, tableOf } from './result.ts'

const README = new URL('../../README.md', import.meta.url)

/** Returns the exit code. */
async function main(argv: string[]): Promise<number> {
  const options = readOptions(argv, new Date().toISOString().slice(0, 10))
  if (!options) {
    process.stdout.write(USAGE)
    return 0
  }
  // Before minutes of work, not after.
  if (options.readme) withTable(readFileSync(README, 'utf8'), '')
  const result = await runAll(options)
  const json = `${JSON.stringify(result)}\n`
  process.stdout.write(options.json ? json : tableOf(result))
  if (options.out !== undefined) writeFileSync(options.out, json)
  if (options.readme) writeFileSync(README, withTable(readFileSync(README, 'utf8'), tableOf(result)))
  return 0
}

async function runAll({ modes, figures, sizes, size, date }: Options): Promise<Result> {
  const guard = startGuard()
  const folder = makeFolder()
  guard.watchFolder(folder)
  const rows: Row[] = []
  let stack: Stack | undefined
  try {
    for (const mode of modes) {
      // Not earlier: idle servers would take their share of the cores from the embedded figures.
      if (mode === 'servers') stack = await startServers()
      for (const figure of figures) {
        if (mode === 'embedded' && SERVERS_ONLY.includes(figure)) continue
        const servers = stack ? serversOf(stack) : undefined
        rows.push(...(await runFigure({ figure, mode, sizes, folder: makeFolder(folder), servers })))
      }
    }
    const by = stack ? { by: stack.by, servers: Object.keys(stack.env) as (keyof Stack['env'])[] } : undefined
    return { date, size, sizes, machine: thisMachine(), stack: by, rows }
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

async function runFigure(input: FigureInput): Promise<Row[]> {
  const title = `${input.mode} ${input.figure}`
  say(title)
  const script = new URL('./figure-process.ts', import.meta.url)
  const figure = startChild(script, join(input.folder, 'figure.log'), (note) => say(`${title}: ${note}`))
  try {
    return await figure.ask<Row[]>('run', input)
  } catch (cause) {
    throw new Error(`${title} failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  } finally {
    await figure.stop()
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
