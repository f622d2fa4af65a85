import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { gatherLines } from '../../../ops/host/gathered-lines.ts'
import { runNode } from '../../support/run-node.ts'

test('lines of one turn leave in one write, in order, and none stays behind', async () => {
  const writes: string[] = []
  const stream = gatherLines({ write: (text) => writes.push(text) })
  stream.write('a\n')
  stream.write('b\n')
  expect(writes).toEqual([])
  await turn()
  stream.write('c\n')
  await turn()
  await turn()
  expect(writes).toEqual(['a\nb\n', 'c\n'])
})

test('a process that ends at once leaves its last lines', async () => {
  const logger = new URL('../../../ops/host/logger.ts', import.meta.url).href
  for (const end of ['process.exit(3)', 'throw new Error("bang")']) {
    const { stderr } = await runNode(
      `const { createLogger } = await import('${logger}')
       createLogger().info('the last line')
       ${end}`,
    )
    expect(stderr).toContain('"message":"the last line"')
  }
})
