import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect } from 'vitest'
import { programArgs } from '../support/compiled.ts'

/** Runs a script of this folder that ends by killing itself, or that the test kills. */
export function startScript(name: string, ...args: string[]): ChildProcess {
  const script = join(import.meta.dirname, name)
  return spawn(process.execPath, [...programArgs(script), ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
}

export async function killed(child: ChildProcess): Promise<void> {
  const [, signal] = (await once(child, 'exit')) as [number | null, string | null]
  expect(signal).toBe('SIGKILL')
}
