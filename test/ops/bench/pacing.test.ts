import { expect, test } from 'vitest'
import { type Clock, dueAtMs, keepPace } from '../../../ops/bench/paced/pacing.ts'

/** Time that passes only while somebody sleeps or works. */
function madeUpClock(): Clock & { pass(ms: number): void } {
  let nowMs = 1_000
  const pass = (ms: number) => {
    nowMs += ms
  }
  return { now: () => nowMs, sleep: async (ms) => pass(ms), pass }
}

test('work is due at even distances', () => {
  expect([0, 1, 2, 500].map((place) => dueAtMs(place, 500))).toEqual([0, 2, 4, 1_000])
})

test('each piece begins when it is due', async () => {
  const clock = madeUpClock()
  const begunMs: number[] = []
  await keepPace({ perSecond: 10, count: 4, atATime: 1 }, clock, async () => {
    begunMs.push(clock.now() - 1_000)
  })
  expect(begunMs).toEqual([0, 100, 200, 300])
})

test('a pause is made up for: what came late begins at once, and the rate holds in the end', async () => {
  const clock = madeUpClock()
  const begunMs: number[] = []
  await keepPace({ perSecond: 10, count: 6, atATime: 1 }, clock, async (place) => {
    begunMs.push(clock.now() - 1_000)
    if (place === 1) clock.pass(250)
  })
  expect(begunMs).toEqual([0, 100, 350, 350, 400, 500])
})

test('never more at a time than allowed', async () => {
  const clock = madeUpClock()
  let [running, most, done] = [0, 0, 0]
  await keepPace({ perSecond: 1_000_000, count: 50, atATime: 3 }, clock, async () => {
    running++
    most = Math.max(most, running)
    await new Promise(setImmediate)
    running--
    done++
  })
  expect({ most, done }).toEqual({ most: 3, done: 50 })
})

test('the first error ends it', async () => {
  const begun: number[] = []
  const work = async (place: number) => {
    begun.push(place)
    if (place === 2) throw new Error('refused')
  }
  await expect(keepPace({ perSecond: 10, count: 100, atATime: 1 }, madeUpClock(), work)).rejects.toThrow('refused')
  expect(begun).toEqual([0, 1, 2])
})
