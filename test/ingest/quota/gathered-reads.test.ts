import fc from 'fast-check'
import { expect, test } from 'vitest'
import { gatherReads } from '../../../ingest/quota/gathered-reads.ts'

/** Issue 6: a check that a request path can afford. */
function counting(fails = () => false) {
  const commands: string[][] = []
  const read = gatherReads(async (keys) => {
    commands.push([...keys])
    if (fails()) throw new Error('away')
    return keys.map((key) => (key.startsWith('no') ? null : `value of ${key}`))
  })
  return { commands, read }
}

test('reads of a tenant that come together are one command, and each gets its own', async () => {
  const { commands, read } = counting()
  const answers = await Promise.all([read(1, ['a', 'b']), read(1, ['none']), read(2, ['c']), read(1, ['a'])])
  expect(answers).toEqual([['value of a', 'value of b'], [null], ['value of c'], ['value of a']])
  expect(commands).toEqual([['a', 'b', 'none', 'a'], ['c']])
})

test('what is asked later is read later', async () => {
  const { commands, read } = counting()
  await read(1, ['a'])
  await read(1, ['a'])
  expect(commands).toEqual([['a'], ['a']])
})

test('no command is larger than the largest request, and nothing is mixed up', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 1_000 }), { maxLength: 6 }), async (sizes) => {
      const { commands, read } = counting()
      const asked = sizes.map((size, n) => Array.from({ length: size }, (_, k) => `${n}-${k}`))
      const answers = await Promise.all(asked.map((keys) => read(1, keys)))
      expect(answers).toEqual(asked.map((keys) => keys.map((key) => `value of ${key}`)))
      expect(commands.every((keys) => keys.length <= 1_000)).toBe(true)
      expect(commands.flat().sort()).toEqual(asked.flat().sort())
    }),
    { numRuns: 30 },
  )
})

test('a store that is away is away for all that ask at once, and for nobody after them', async () => {
  let away = true
  const { read } = counting(() => away)
  const answers = await Promise.allSettled([read(1, ['a']), read(1, ['b'])])
  expect(answers.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  away = false
  expect(await read(1, ['a'])).toEqual(['value of a'])
})
