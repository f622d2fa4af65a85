import { fork } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A process of the bench that answers questions. */
export type Child = {
  ask<T>(what: string, input?: unknown): Promise<T>
  stop(): Promise<void>
}
const STOP_WITHIN_MS = 60_000

type Question = { question: number; what: string; input: unknown }
type Answer = { answerTo: number; value?: unknown; error?: string }
type Note = { note: string }

/** What it writes to stderr goes to a file, as a service's would; the file's end is told when it fails. */
export function startChild(script: URL, logFile: string, onNote: (note: string) => void = () => undefined): Child {
  const log = openSync(logFile, 'a', 0o600)
  const child = fork(scriptFile(script), {
    execArgv: [...process.execArgv.filter((flag) => flag !== '--expose-gc'), '--expose-gc'],
    stdio: ['ignore', 'ignore', log, 'ipc'],
  })
  closeSync(log)
  const name = basename(script.pathname)
  const waiting = new Map<number, { done: (value: unknown) => void; fail: (error: Error) => void }>()
  let asked = 0
  const exited = new Promise<void>((gone) => {
    child.once('exit', (code, signal) => {
      const error = new Error(`${name} ended (${signal ?? code}):\n${endOf(logFile)}`)
      for (const { fail } of waiting.values()) fail(error)
      waiting.clear()
      gone()
    })
  })
  child.on('message', (message: Answer | Note) => {
    if ('note' in message) return onNote(message.note)
    const asker = waiting.get(message.answerTo)
    waiting.delete(message.answerTo)
    if (message.error === undefined) asker?.done(message.value)
    else asker?.fail(new Error(message.error))
  })
  return {
    ask: <T>(what: string, input?: unknown) =>
      new Promise<T>((done, fail) => {
        asked++
        waiting.set(asked, { done: (value) => done(value as T), fail })
        const question: Question = { question: asked, what, input: input ?? null }
        child.send(question, (error) => {
          if (error) fail(new Error(`${name} cannot be asked: ${error.message}\n${endOf(logFile)}`))
        })
      }),
    stop: async () => {
      if (child.connected) child.disconnect()
      const overdue = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS)
      await exited
      clearTimeout(overdue)
    },
  }
}

/** The bench runs from sources or, to see memory without the loader's, from the build: scripts are named as sources. */
function scriptFile(script: URL): string {
  const file = fileURLToPath(script)
  return import.meta.url.endsWith('.js') ? file.replace(/\.ts$/, '.js') : file
}

/** Answers the parent's questions. When the parent hangs up, or is gone, `close` runs and the process ends. */
export function answerParent(
  answers: Record<string, (input: unknown) => unknown>,
  close: () => Promise<void> = async () => undefined,
): void {
  process.on('message', ({ question, what, input }: Question) => {
    const work = async () => {
      const answer = answers[what]
      if (!answer) throw new Error(`There is no answer to '${what}'`)
      return answer(input)
    }
    work().then(
      (value) => send({ answerTo: question, value: value ?? null }),
      (error: unknown) => send({ answerTo: question, error: error instanceof Error ? told(error) : String(error) }),
    )
  })
  process.once('disconnect', () => {
    close().then(
      () => process.exit(0),
      () => process.exit(1),
    )
  })
}

/** Tells the parent how far the work is. */
export function note(text: string): void {
  send({ note: text })
}

function send(message: Answer | Note): void {
  if (process.connected) process.send?.(message)
}

function told(error: Error): string {
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : ''
  return `${error.stack ?? error.message}${cause}`
}

function endOf(logFile: string): string {
  return readFileSync(logFile, 'utf8').split('\n').slice(-40).join('\n')
}
