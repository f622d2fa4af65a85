import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createRecordBuffer } from '../../../aggregator/pump/record-buffer.ts'

const row = (partition: number, offset: number) => ({ knownAtMs: 1, partition, offset, batch: Buffer.from([offset]) })
const PLENTY = 1_000_000

test('nothing is kept of a partition that nobody asked for; asking seeks to where reading goes on', () => {
  const buffer = createRecordBuffer()
  buffer.push(row(0, 0))
  const sought: [number, number][] = []
  expect(buffer.take([7, undefined], PLENTY, (...place) => sought.push(place))).toEqual([])
  expect(sought).toEqual([[0, 7]])
  expect(buffer.bytes()).toBe(0)
})

test('records are taken densely from the wanted offset on, and stay until a later one is wanted', () => {
  const buffer = createRecordBuffer()
  const seek = () => undefined
  buffer.take([0], PLENTY, seek)
  for (const offset of [0, 1, 2]) buffer.push(row(0, offset))
  expect(buffer.take([0], PLENTY, seek).map((one) => one.offset)).toEqual([0, 1, 2])
  expect(
    buffer.take([0], 2, seek).map((one) => one.offset),
    'bounded by bytes',
  ).toEqual([0, 1])
  expect(buffer.take([2], PLENTY, seek).map((one) => one.offset)).toEqual([2])
  expect(buffer.bytes()).toBe(1)
})

test('a stale fetch, a repeated record and one behind a hole are not taken, and said to be unexpected', () => {
  const buffer = createRecordBuffer()
  const seek = () => undefined
  buffer.take([5], PLENTY, seek)
  const expected = [3, 5, 5, 7, 6].map((offset) => buffer.push(row(0, offset)))
  expect(expected).toEqual([false, true, false, false, true])
  expect(buffer.take([5], PLENTY, seek).map((one) => one.offset)).toEqual([5, 6])
})

test('a busy partition leaves the others their share of a read', () => {
  const buffer = createRecordBuffer()
  const seek = () => undefined
  buffer.take([0, 0, undefined], PLENTY, seek)
  for (let offset = 0; offset < 100; offset++) buffer.push(row(0, offset))
  buffer.push(row(1, 0))
  const places = buffer.take([0, 0, undefined], 6, seek).map((one) => `${one.partition}/${one.offset}`)
  expect(places).toEqual(['0/0', '0/1', '0/2', '1/0'])
})

test('an offset before or behind what is kept empties the partition and seeks', () => {
  const sought: number[] = []
  const buffer = createRecordBuffer()
  const seek = (_: number, offset: number) => sought.push(offset)
  buffer.take([5], PLENTY, seek)
  buffer.push(row(0, 5))
  for (const wanted of [4, 9]) expect(buffer.take([wanted], PLENTY, seek)).toEqual([])
  expect(sought).toEqual([5, 4, 9])
  expect(buffer.bytes()).toBe(0)
})

test('however records are pushed and taken, a reader sees each offset once, in order', () => {
  const steps = fc.array(fc.oneof(fc.constant('take' as const), fc.nat({ max: 12 })), { maxLength: 200 })
  fc.assert(
    fc.property(steps, (all) => {
      const buffer = createRecordBuffer()
      let next = 0
      const seen: number[] = []
      for (const step of all) {
        if (step !== 'take') buffer.push(row(0, step))
        else {
          for (const { offset } of buffer.take([next], PLENTY, () => undefined)) seen.push(offset)
          next = (seen.at(-1) ?? next - 1) + 1
        }
      }
      expect(seen).toEqual(seen.map((_, index) => index))
    }),
  )
})

test('waiting ends when a record arrives', async () => {
  const buffer = createRecordBuffer()
  buffer.take([0], PLENTY, () => undefined)
  const waited = buffer.wait(60_000)
  buffer.push(row(0, 0))
  await waited
})
