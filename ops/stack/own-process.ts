import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Guard } from './guard.ts'
import type { Server } from './server.ts'

export type ProcessOptions = {
  /** What it is called in errors. */
  name: string
  command: string
  args: readonly string[]
  env?: Record<string, string>
  /** Another user's, when it must not run as root. */
  user?: { uid: number; gid: number } | undefined
  folder: string
  logFile: string
  guard: Guard
  /** Whether it answers as it should; asked until it does. */
  answers(): Promise<boolean>
  startWithinMs: number
  stopWithinMs: number
  /** SIGTERM unless said. */
  stopSignal?: NodeJS.Signals
  /** SIGKILL unless said. */
  killSignal?: NodeJS.Signals
}

/** Runs a server as our child, away from our terminal: Ctrl-C reaches only us, and we stop it in order. */
export async function startProcess(options: ProcessOptions): Promise<Server> {
  let child: ChildProcess | undefined
  const start = async () => {
    child = launch(options)
    try {
      await waitUntilItAnswers(options, child)
    } catch (error) {
      await end(child, 'SIGKILL', 0)
      child = undefined
      throw error
    }
  }
  const finish = async (signal: NodeJS.Signals) => {
    const running = child
    child = undefined
    if (running) await end(running, signal, options.stopWithinMs)
  }
  const { stopSignal = 'SIGTERM', killSignal = 'SIGKILL' } = options
  await start()
  return {
    get pid() {
      return child?.exitCode === null && child.signalCode === null ? child.pid : undefined
    },
    stop: () => finish(stopSignal),
    kill: () => finish(killSignal),
    freeze: async () => {
      child?.kill('SIGSTOP')
    },
    thaw: async () => {
      child?.kill('SIGCONT')
    },
    restart: async () => {
      await finish(stopSignal)
      await start()
    },
  }
}

function launch({ command, args, env, user, folder, logFile, guard }: ProcessOptions): ChildProcess {
  const log = openSync(logFile, 'a', 0o600)
  const child = spawn(command, args, {
    ...user,
    cwd: folder,
    detached: true,
    env: { ...process.env, ...env },
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  const { pid } = child
  if (pid !== undefined) {
    guard.watch(pid)
    child.once('exit', () => guard.forget(pid))
  }
  child.on('error', () => undefined) // seen as a server that never answers
  // A test that forgets to stop its servers must still end; the guard ends them then.
  child.unref()
  return child
}

async function waitUntilItAnswers(options: ProcessOptions, child: ChildProcess): Promise<void> {
  const until = Date.now() + options.startWithinMs
  while (Date.now() < until) {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) break
    if (await options.answers()) return
    await sleep(50)
  }
  const log = readFileSync(options.logFile, 'utf8').trimEnd().split('\n').slice(-15).join('\n')
  throw new Error(`${options.name} does not start. The end of ${options.logFile}:\n${log}`)
}

/** The signal, and SIGKILL when it has not ended in time. */
async function end(child: ChildProcess, signal: NodeJS.Signals, withinMs: number): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  child.ref()
  const gone = new Promise<void>((done) => child.once('exit', () => done()))
  child.kill(signal)
  if (signal !== 'SIGKILL') {
    // One that a test has frozen hears nothing else.
    child.kill('SIGCONT')
    const late = setTimeout(() => child.kill('SIGKILL'), withinMs)
    void gone.then(() => clearTimeout(late))
  }
  await gone
}
