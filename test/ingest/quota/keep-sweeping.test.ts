import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { keepSweeping } from '../../../ingest/quota/keep-sweeping.ts'

beforeEach(() => {
  vi.useFakeTimers()
  return () => void vi.useRealTimers()
})
afterEach(() => vi.restoreAllMocks())

const logger = pino({ level: 'silent' })

test('holds whose time is over are ended every few seconds, also after a sweep that failed, until it stops', async () => {
  let swept = 0
  const sweepHolds = async (nowMs: number) => {
    expect(nowMs).toBe(7)
    if (++swept === 2) throw new Error('Redis is away')
    return 0
  }
  const sweeping = keepSweeping({ sweepHolds }, logger, () => 7)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(swept).toBe(0)
  sweeping.start()
  await vi.advanceTimersByTimeAsync(20_100)
  expect(swept).toBe(4)
  await sweeping.stop()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(swept).toBe(4)
})

test('a sweep under way is waited for when it stops, and begins no other one', async () => {
  let end: () => void = () => undefined
  let swept = 0
  const sweepHolds = async () => {
    swept++
    await new Promise<void>((done) => {
      end = done
    })
    return 0
  }
  const sweeping = keepSweeping({ sweepHolds }, logger, () => 0)
  sweeping.start()
  await vi.advanceTimersByTimeAsync(5_000)
  let stopped = false
  const stopping = sweeping.stop().then(() => {
    stopped = true
  })
  await vi.advanceTimersByTimeAsync(30_000)
  expect([swept, stopped]).toEqual([1, false])
  end()
  await stopping
  await vi.advanceTimersByTimeAsync(30_000)
  expect(swept).toBe(1)
})
