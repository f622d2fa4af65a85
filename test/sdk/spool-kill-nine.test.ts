import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, expect, test } from 'vitest'
import { openSpool } from '../../sdk/typescript/src/spool.ts'
import { createTallyline } from '../../sdk/typescript/src/tallyline.ts'
import { programArgs } from '../support/compiled.ts'
import { randomOf } from '../support/random.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { eventServer } from './support/event-server.ts'

const PROGRAM = join(import.meta.dirname, 'support/emit-until-killed.ts')
const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

/** Runs the program until it printed so many lines, and kills it in the middle of what it does. Returns the ids. */
async function emitAndKill(url: string, folder: string, lines: number): Promise<string[]> {
  const child = spawn(process.execPath, [...programArgs(PROGRAM), url, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  const exited = once(child, 'exit')
  const durable: string[] = []
  let seen = 0
  for await (const line of createInterface({ input: child.stdout! })) {
    durable.push(...line.replace('durable ', '').split(','))
    if (++seen === lines) child.kill('SIGKILL')
  }
  expect((await exited)[1]).toBe('SIGKILL')
  return durable
}

/** Issue 6: the spool survives kill -9, and `flush()` states what is durable. */
test('what flush() called durable is sent after a kill -9, under the same ids, with the same bytes', async () => {
  const folder = tempFolder()
  const server = await eventServer()
  const random = randomOf(6)
  const durable: string[] = []
  let unsentAtKill = 0
  for (const up of [true, false, true, false]) {
    server.setUp(up)
    durable.push(...(await emitAndKill(server.url, folder.path, 20 + random.below(60))))
    unsentAtKill += durable.filter((id) => !server.received.has(id)).length
  }
  server.setUp(true)
  const spool = await openSpool({ folder: folder.path })
  expect(spool.recovered).toBeGreaterThan(0)
  const tallyline = createTallyline({ url: server.url, key: 'tly_test', spool })
  expect(await tallyline.close({ timeoutMs: 60_000 })).toMatchObject({ waiting: 0 })
  await server.close()
  // The kills came at a time when the disk alone had some of them.
  expect(unsentAtKill).toBeGreaterThan(100)
  expect(durable.filter((id) => !server.received.has(id))).toEqual([])
  expect([...server.received.values()].filter((forms) => forms.size > 1)).toEqual([])
  const left = await openSpool({ folder: folder.path })
  expect(left.recovered).toBe(0)
  await left.close()
  folder.remove()
})
