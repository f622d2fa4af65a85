import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { takeTurns } from '../../../ingest/webhooks/take-turns.ts'

const never = () => new AbortController().signal
const settled = () => new Promise<void>((done) => setImmediate(done))

/** Works that end when they are told to, and in which order they began. */
function works(turns = takeTurns({ most: 5, mostOfOne: 2 })) {
  const [begun, ends]: [string[], Map<string, () => void>] = [[], new Map()]
  const ask = (whose: string, name: string, signal = never()) =>
    turns(whose, signal, () => {
      begun.push(name)
      return new Promise<void>((end) => ends.set(name, end))
    })
  return { begun, ask, end: (name: string) => ends.get(name)?.() }
}

describe('turns', () => {
  /** Issue 6: one tenant's slow mails occupied all connections, and nobody else's mails left. */
  test('of one owner are two at most, and nobody waits behind whoever has enough', async () => {
    const { begun, ask, end } = works()
    for (const name of ['a1', 'a2', 'a3', 'a4', 'b1']) void ask(name.slice(0, 1), name)
    await settled()
    expect(begun).toEqual(['a1', 'a2', 'b1'])
    end('b1')
    await settled()
    expect(begun).toEqual(['a1', 'a2', 'b1'])
    end('a2')
    await settled()
    expect(begun).toEqual(['a1', 'a2', 'b1', 'a3'])
  })

  test('of all together are five at most, and are taken in their order', async () => {
    const { begun, ask, end } = works()
    for (const name of ['a1', 'b1', 'c1', 'd1', 'e1', 'f1', 'g1']) void ask(name.slice(0, 1), name)
    await settled()
    expect(begun).toEqual(['a1', 'b1', 'c1', 'd1', 'e1'])
    end('c1')
    await settled()
    expect(begun).toEqual(['a1', 'b1', 'c1', 'd1', 'e1', 'f1'])
  })

  test('that come too late are given up, and keep nobody from theirs', async () => {
    const { begun, ask, end } = works(takeTurns({ most: 1, mostOfOne: 1 }))
    const controller = new AbortController()
    void ask('a', 'a1')
    const late = ask('a', 'a2', controller.signal)
    void ask('b', 'b1')
    controller.abort(new Error('too late'))
    await expect(late).rejects.toThrow('too late')
    await expect(ask('c', 'c1', controller.signal)).rejects.toThrow('too late')
    end('a1')
    await settled()
    expect(begun).toEqual(['a1', 'b1'])
  })

  test('all come, whoever fails, and never more at once than may be', async () => {
    const owners = fc.array(fc.record({ whose: fc.constantFrom('a', 'b', 'c', 'd'), fails: fc.boolean() }))
    await fc.assert(
      fc.asyncProperty(
        owners,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 3 }),
        async (all, most, own) => {
          const turns = takeTurns({ most, mostOfOne: own })
          const running: string[] = []
          const work = (whose: string, fails: boolean) => async () => {
            running.push(whose)
            expect(running.length).toBeLessThanOrEqual(most)
            expect(running.filter((one) => one === whose).length).toBeLessThanOrEqual(own)
            await settled()
            running.splice(running.indexOf(whose), 1)
            if (fails) throw new Error('failed')
          }
          const ends = await Promise.allSettled(
            all.map(({ whose, fails }) => turns(whose, never(), work(whose, fails))),
          )
          expect(ends.map((end) => (end.status === 'rejected' ? end.reason.message : 'done'))).toEqual(
            all.map(({ fails }) => (fails ? 'failed' : 'done')),
          )
        },
      ),
    )
  })
})
