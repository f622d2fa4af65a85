#!/usr/bin/env node
import { demoCommand } from './demo.command.ts'
import { keysCommand } from './keys.command.ts'
import { startCommand } from './start.command.ts'
import { startOwn } from './start-own.ts'

const USAGE = `Usage: tallyline <command>

  start                     everything in one process, on embedded stores
  demo [--trace FILE]       the main job on generated data, or on a trace
  keys create               make an API key; also while the product runs
                            --permissions a,b  [--tenant SLUG]

Each command explains itself with --help.
`

/** One file a command; this one only chooses. Returns the exit code. */
async function main(argv: string[]): Promise<number> {
  const [command, ...rest] = argv
  const { env, stdout, stderr } = process
  if (command === 'start') return startCommand(rest, env, { stdout, stderr })
  if (command === 'demo') {
    const isTty = stderr.isTTY === true
    return demoCommand(rest, env, { startOwn: () => startOwn(env), stdout, stderr, isTty, signal: interrupted() })
  }
  if (command === 'keys') return keysCommand(rest, env, { stdout, stderr })
  if (command === undefined || command === '--help' || command === 'help') {
    stdout.write(USAGE)
    return command === undefined ? 1 : 0
  }
  stderr.write(`There is no command '${command}'.\n\n${USAGE}`)
  return 1
}

function interrupted(): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => controller.abort())
  return controller.signal
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
