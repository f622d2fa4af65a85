#!/usr/bin/env node
import { createInterface } from 'node:readline/promises'
import { auditCommand } from './audit.command.ts'
import { demoCommand } from './demo.command.ts'
import { importCommand } from './import.command.ts'
import { keysCommand } from './keys.command.ts'
import { migrateCommand } from './migrate.command.ts'
import { planCommand } from './plan.command.ts'
import { quotaCommand } from './quota.command.ts'
import { quoteCommand } from './quote.command.ts'
import { retentionCommand } from './retention.command.ts'
import { serveCommand } from './serve.command.ts'
import { ROLES, type Role } from './settings.ts'
import { stackCommand } from './stack.command.ts'
import { startOwn } from './start-own.ts'
import { verifyCommand } from './verify.command.ts'

const USAGE = `Usage: tallyline <command>

  start                     all roles in one process; stores are embedded unless a server is named
  ingest, aggregator, invoicer
                            one role, on servers
  migrate                   create and update tables and topics on servers
  stack                     start the four servers on this machine, for development
  demo [--trace FILE]       the main job on generated data, or on a trace
  import FILE               send the rows of a CSV, NDJSON or Parquet file as events to a running product
  audit --period 2026-11    recompute a month from raw events: say equal, or name what differs
  verify INVOICE            recompute an invoice from raw events, plan and seal: say equal, or what differs
  plan export|diff|apply [FILE.yaml]
                            plans as a file: print them, compare them, make a running product like them
  quota recalculate [--dry-run]
                            compare quota counters with usage, and correct those that differ
  quote --cases FILE|-      compute prices, periods and prorations: JSON lines in, JSON lines out
  retention [--dry-run]     remove dead letters past their time
  keys create               make an API key; also while the product runs
                            --permissions a,b  [--tenant SLUG]  [--customer KEY | --subject S …]

Each command explains itself with --help.
`

/** One file a command; this one only chooses. Returns the exit code. */
async function main(argv: string[]): Promise<number> {
  const [command, ...rest] = argv
  const { env, stdout, stderr } = process
  const streams = { stdout, stderr }
  if (command === 'start' || isRole(command)) return serveCommand(command, rest, env, streams)
  if (command === 'migrate') return migrateCommand(rest, env, streams)
  if (command === 'stack') return stackCommand(rest, streams)
  if (command === 'demo') {
    const isTty = stderr.isTTY === true
    return demoCommand(rest, env, { startOwn: () => startOwn(env), stdout, stderr, isTty, signal: interrupted() })
  }
  if (command === 'import') {
    return importCommand(rest, env, { ...streams, isTty: stderr.isTTY === true, now: Date.now })
  }
  if (command === 'audit') return auditCommand(rest, env, streams)
  if (command === 'verify') return verifyCommand(rest, env, streams)
  if (command === 'plan') return planCommand(rest, env, { ...streams, now: Date.now, confirm: asking() })
  if (command === 'quota') return quotaCommand(rest, env, streams)
  if (command === 'quote') return quoteCommand(rest, { ...streams, stdin: process.stdin })
  if (command === 'retention') return retentionCommand(rest, env, { ...streams, now: Date.now })
  if (command === 'keys') return keysCommand(rest, env, streams)
  if (command === undefined || command === '--help' || command === 'help') {
    stdout.write(USAGE)
    return command === undefined ? 1 : 0
  }
  stderr.write(`There is no command '${command}'.\n\n${USAGE}`)
  return 1
}

function isRole(command: string | undefined): command is Role {
  return (ROLES as readonly (string | undefined)[]).includes(command)
}

/** Asks on the terminal; undefined without one. */
function asking(): ((question: string) => Promise<boolean>) | undefined {
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true) return undefined
  return async (question) => {
    const terminal = createInterface({ input: process.stdin, output: process.stderr })
    // Whoever ends the input has not agreed.
    const ended = new Promise<string>((resolve) => terminal.once('close', () => resolve('')))
    const said = await Promise.race([terminal.question(`${question} [y/N] `), ended])
    terminal.close()
    return /^y(es)?$/i.test(said.trim())
  }
}

function interrupted(): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => controller.abort())
  return controller.signal
}

const LINGER_MS = 2_000

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
    // Everything is stopped. A client library's retries against a server that is away would keep the process for minutes.
    setTimeout(() => process.exit(), LINGER_MS).unref()
  },
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  },
)
