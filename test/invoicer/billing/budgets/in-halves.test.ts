import { expect, test } from 'vitest'
import { inHalves } from '../../../../invoicer/billing/budgets/in-halves.ts'

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

/** Lots are drawn 0.1, 0.2 … 0.9, 0.1 …, so that the tests see the same each time. */
async function tried(portion: readonly number[], isBad: (one: number) => boolean, stopping = () => false) {
  const [done, failed]: [Set<number>, number[]] = [new Set(), []]
  let [calls, lot] = [0, 0]
  const work = async (part: readonly number[]) => {
    calls += 1
    if (part.some(isBad)) throw new Error('bad')
    for (const one of part) done.add(one)
  }
  const random = () => (lot++ % 9) / 10 + 0.1
  const hooks = { stopping, failed: (one: number) => void failed.push(one), random }
  const end = await inHalves(portion, work, hooks).catch((error: Error) => error.message)
  return { done: [...done].sort((a, b) => a - b), failed, calls, end }
}

test('what goes well is done at once', async () => {
  expect(await tried(numbers(200), () => false)).toMatchObject({ done: numbers(200), failed: [], calls: 1 })
})

test.each([0, 1, 20, 99, 100, 199])('one that fails, at place %d of 200, holds up no other', async (bad) => {
  const { done, failed, calls } = await tried(numbers(200), (one) => one === bad)
  expect(failed).toEqual([bad])
  expect(done).toEqual(numbers(200).filter((one) => one !== bad))
  expect(calls).toBeLessThanOrEqual(20)
})

/** All subscriptions of a plan whose meter cannot be read stand side by side: those behind them are looked at too. */
test('a hundred that fail side by side hold up no other either', async () => {
  const { done, failed, end } = await tried(numbers(200), (one) => one < 100)
  expect([failed, done, end]).toEqual([numbers(100), numbers(200).slice(100), undefined])
})

test('where nothing goes well it gives up soon, and says why', async () => {
  expect(await tried(numbers(200), () => true)).toEqual({ done: [], failed: [], calls: 9, end: 'bad' })
})

test('a single one that fails is told as that one', async () => {
  expect(await tried([7], () => true)).toEqual({ done: [], failed: [7], calls: 1, end: undefined })
})

test('whoever stops begins nothing new', async () => {
  expect(
    await tried(
      numbers(9),
      () => false,
      () => true,
    ),
  ).toEqual({ done: [], failed: [], calls: 0, end: undefined })
  expect(await tried([], () => true)).toMatchObject({ calls: 0, end: undefined })
})
