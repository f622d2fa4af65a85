import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ROLES } from '../../../ops/cli/settings.ts'
import { stackPort } from '../../../ops/stack/ports.ts'
import { type Stack, startStack } from '../../../ops/stack/stack.ts'
import { filledIn, parseCompose, repositoryFile, type Service } from './compose.ts'
import { buildImage, type Image, removeImage } from './image.ts'

const scratch = mkdtempSync(join(tmpdir(), 'tallyline-image-'))
const passwords = { POSTGRES_PASSWORD: 'aa', CLICKHOUSE_PASSWORD: 'bb', REDIS_PASSWORD: 'cc' }
const { services } = parseCompose(filledIn(repositoryFile('docker-compose.yml'), passwords))
const run = promisify(execFile)
let image: Image
let stack: Stack

beforeAll(async () => {
  // The image's user has to get in.
  chmodSync(scratch, 0o755)
  ;[image, stack] = await Promise.all([buildImage(repositoryFile('Dockerfile'), scratch), startStack()])
}, 600_000)

afterAll(async () => {
  await stack?.stop()
  removeImage(scratch)
}, 120_000)

test('the image holds the build, what it reads and the production packages, and nothing else', () => {
  expect(readdirSync(image.folder).sort()).toEqual([
    'dist',
    'node_modules',
    'package-lock.json',
    'package.json',
    'schemas',
  ])
  const files = readdirSync(join(image.folder, 'schemas'), { recursive: true, withFileTypes: true })
  const kinds = new Set(files.filter((file) => file.isFile()).map((file) => file.name.replace(/.*\./, '')))
  expect([...kinds].sort()).toEqual(['avsc', 'sql'])
  // What npm notes of the packages that it installed; `dev` and `optional` mean that nothing else needs them.
  const noted = readFileSync(join(image.folder, 'node_modules', '.package-lock.json'), 'utf8')
  const { packages } = JSON.parse(noted) as { packages: Record<string, { dev?: boolean; optional?: boolean }> }
  const installed = Object.entries(packages)
  expect(installed.map(([path]) => path)).toContain('node_modules/fastify')
  expect(installed.filter(([, { dev, optional }]) => dev || optional)).toEqual([])
  expect(existsSync(join(image.folder, 'node_modules', 'chdb'))).toBe(false)
})

test('its command explains itself', async () => {
  const { stdout } = await inImage(['--help'], {})
  expect(stdout).toContain('Usage: tallyline')
})

describe('on servers', () => {
  test('migrate ends well, twice at once and once more', async () => {
    const { command = [], env } = asComposed(services.migrate, 0)
    await Promise.all([inImage(command, env), inImage(command, env)])
    const { stdout } = await inImage(command, env)
    expect(stdout).toContain('up to date')
  }, 120_000)

  test.each([...ROLES])(
    '%s gets healthy, then ready, and stops when told to',
    async (role) => {
      const { command, env } = asComposed(services[role], await stackPort())
      expect(command).toEqual([role])
      await startsAndStops(command, env, healthcheckOf(services[role]))
    },
    180_000,
  )

  test('start runs them all without an embedded store', async () => {
    const env = { ...asComposed(services.ingest, await stackPort()).env, TALLYLINE_DATA: join(scratch, 'data') }
    await startsAndStops(['start'], env, healthcheckOf(services.ingest))
    expect(existsSync(env.TALLYLINE_DATA)).toBe(false)
  }, 180_000)
})

/** The service's command and environment, with the stack's servers in the place of those that Compose starts. */
function asComposed(service: Service | undefined, port: number) {
  const composed = service?.environment ?? {}
  const here = Object.entries(stack.env).filter(([name]) => name in composed)
  return { command: service?.command ?? [], env: { ...composed, ...Object.fromEntries(here), PORT: String(port) } }
}

function healthcheckOf(service: Service | undefined): string[] {
  const [kind, ...command] = service?.healthcheck?.test ?? []
  if (kind !== 'CMD') throw new Error('the health check is no command')
  return command
}

/** Only what the image and the service give: nothing of ours but the way to `node`. */
function optionsFor(env: Record<string, string>) {
  return { cwd: image.folder, env: { PATH: process.env.PATH ?? '', ...image.env, ...env }, ...image.user }
}

function inImage(args: string[], env: Record<string, string>) {
  const [program = '', ...first] = image.entrypoint
  return run(program, [...first, ...args], { ...optionsFor(env), timeout: 60_000 })
}

async function startsAndStops(args: string[], env: Record<string, string>, ready: string[]): Promise<void> {
  const [program = '', ...first] = image.entrypoint
  const child = spawn(program, [...first, ...args], { ...optionsFor(env), stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (output += String(bytes)))
  const ended = new Promise<unknown>((done) => child.once('exit', (code, signal) => done(signal ?? code)))
  try {
    await until(image.healthcheck, env, child, () => output)
    await until(ready, env, child, () => output)
  } finally {
    child.kill('SIGTERM')
    const late = sleep(40_000, 'still there after its stop_grace_period', { ref: false })
    const end = await Promise.race([ended, late])
    child.kill('SIGKILL')
    expect(end, output).toBe(0)
  }
}

/** Runs the health check's own command until it ends well. */
async function until(check: string[], env: Record<string, string>, child: ChildProcess, log: () => string) {
  const [program = '', ...args] = check
  for (let tries = 0; tries < 120; tries++) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}:\n${log()}`)
    const healthy = await run(program, args, optionsFor(env)).then(
      () => true,
      () => false,
    )
    if (healthy) return
    await sleep(250)
  }
  throw new Error(`never healthy by ${check.at(-1)}:\n${log()}`)
}
