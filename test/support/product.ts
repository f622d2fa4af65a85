import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { findEmbeddedPostgres, startEmbeddedPostgres } from '../../ops/embedded/postgres.ts'
import { programArgs } from './compiled.ts'
import { REPOSITORY } from './source-files.ts'

export type Exit = { code: number | null; signal: NodeJS.Signals | null }

/** A process of the product, or of a command of it. */
export type Launched = {
  pid: number
  exited: Promise<Exit>
  stdout: () => string
  stderr: () => string
  /** Resolves when the pattern stands in stdout; rejects when the process ends without it. */
  printed: (pattern: RegExp) => Promise<string>
  /** kill -9; resolves when the process is gone. */
  crash: () => Promise<void>
  stop: (signal?: 'SIGINT' | 'SIGTERM') => Promise<Exit>
}
export type Product = Launched & { url: string }

export const COMMAND = join(REPOSITORY, 'ops/cli/tallyline.ts')

const LOOK_EVERY_MS = 10
/** Processes that run, by pid: a test file that ends early leaves none behind. */
const alive = new Map<number, { folder: string | undefined; crash: () => Promise<Exit> }>()
process.once('exit', () => {
  for (const pid of alive.keys()) process.kill(pid, 'SIGKILL')
})
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(1))

/** A folder that the embedded Postgres can enter also when the tests run as root. */
export function newDataFolder(): string {
  const folder = mkdtempSync(join('/tmp', 'tallyline-e2e-'))
  chmodSync(folder, 0o711)
  return folder
}

/** Ends what still runs on the folder, the Postgres that a killed product left too, then removes it. */
export async function removeDataFolder(folder: string): Promise<void> {
  for (const running of alive.values()) if (running.folder === folder) await running.crash()
  if (await findEmbeddedPostgres(folder)) await (await startEmbeddedPostgres(folder)).stop()
  rmSync(folder, { recursive: true, force: true })
}

/** Runs a TypeScript entry as a process of its own. The environment is the test's without the demo's settings. */
export function launch([program, ...argv]: readonly [string, ...string[]], env: Record<string, string>): Launched {
  const { TALLYLINE_URL: _url, TALLYLINE_API_KEY: _key, ...inherited } = process.env
  const child = spawn(process.execPath, [...programArgs(program), ...argv], {
    cwd: REPOSITORY,
    env: { ...inherited, BILLING_CRON: 'off', LOG_LEVEL: 'warn', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const { pid } = child
  if (pid === undefined) throw new Error(`${program} does not start`)
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text
    })
  }
  let exit: Exit | undefined
  const exited = new Promise<Exit>((done) => {
    child.once('close', (code, signal) => {
      alive.delete(pid)
      exit = { code, signal }
      done(exit)
    })
  })
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    return exited
  }
  alive.set(pid, { folder: env.TALLYLINE_DATA, crash: () => end('SIGKILL') })
  const printed = async (pattern: RegExp) => {
    for (;;) {
      const match = pattern.exec(texts.stdout)
      if (match) return match[1] ?? match[0]
      if (exit) throw new Error(`${argv[0]} ended (${exit.code ?? exit.signal}): ${texts.stderr || texts.stdout}`)
      await sleep(LOOK_EVERY_MS)
    }
  }
  return {
    pid,
    exited,
    stdout: () => texts.stdout,
    stderr: () => texts.stderr,
    printed,
    crash: async () => {
      await end('SIGKILL')
    },
    stop: (signal = 'SIGTERM') => end(signal),
  }
}

/** Launches `start`, or an entry that does the same with wrapped ports, on a free port. */
export function launchStart(
  folder: string,
  entry: readonly [string, ...string[]] = [COMMAND, 'start'],
  env: Record<string, string> = {},
): Launched {
  return launch(entry, { PORT: '0', TALLYLINE_DATA: folder, ...env })
}

/** The product once it says that it is ready, and is. */
export async function readyProduct(launched: Launched): Promise<Product> {
  const url = await launched.printed(/ready at (http:\S+)\n/)
  while ((await fetch(`${url}/readyz`)).status !== 200) await sleep(LOOK_EVERY_MS)
  return { ...launched, url }
}

export async function startProduct(
  folder: string,
  entry?: readonly [string, ...string[]],
  env?: Record<string, string>,
): Promise<Product & { key: string }> {
  const product = await readyProduct(launchStart(folder, entry, env))
  return { ...product, key: await product.printed(/^(tly_\S+)\n/m) }
}

/**
 * Looks again and again until the answer is right; the last answer otherwise, for the test to compare. A look that is
 * dear is taken seldom, so that what is waited for has the machine to itself. The limit is a bound against hanging.
 */
export async function eventually<T>(
  look: () => Promise<T>,
  isRight: (seen: T) => boolean,
  limitMs = 90_000,
): Promise<T> {
  const giveUpMs = performance.now() + limitMs
  for (;;) {
    const beganMs = performance.now()
    const seen = await look()
    const endedMs = performance.now()
    if (isRight(seen) || endedMs >= giveUpMs) return seen
    await sleep(Math.min(1_000, Math.max(50, 3 * (endedMs - beganMs))))
  }
}

/** Asks the Postgres of a data folder as its owner, whom row-level security does not bind. */
export async function askPostgres<Row extends pg.QueryResultRow>(
  folder: string,
  sql: string,
  params: unknown[] = [],
): Promise<Row[]> {
  const url = await findEmbeddedPostgres(folder)
  if (!url) throw new Error(`No Postgres runs in ${folder}`)
  return askPostgresAt(url, sql, params)
}

/** Asks a Postgres over a connection of its own. */
export async function askPostgresAt<Row extends pg.QueryResultRow>(
  url: string,
  sql: string,
  params: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Row>(sql, params)).rows
  } finally {
    await client.end()
  }
}
