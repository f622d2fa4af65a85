import { pino } from 'pino'
import { beforeEach, expect, test, vi } from 'vitest'
import { type KeeperDeps, keepReconciling } from '../../../../ingest/quota/reconcile/keep-reconciling.ts'
import type { Pass } from '../../../../ingest/quota/reconcile/reconciler.ts'

const MINUTE_MS = 60_000
const NOTHING: Pass = { counters: 0, differences: new Map(), cut: false }

let did: string[]
let logged: string[]
let turn: boolean
let failure: { pass?: string; question?: string }
let differences: Pass['differences']
let hanging: (() => void) | undefined
let deps: KeeperDeps

beforeEach(() => {
  vi.useFakeTimers()
  did = []
  logged = []
  turn = true
  failure = {}
  differences = new Map()
  hanging = undefined
  let opened = 0
  deps = {
    turn: { take: async () => turn, leave: () => void did.push('left') },
    open: (_signal, failed) => {
      const name = `reconciler ${++opened}`
      return {
        pass: async (correct) => {
          did.push(`${name}${correct ? '' : ' only looks'}`)
          if (failure.question) failed(new Error(failure.question))
          if (hanging) await new Promise<void>((done) => (hanging = done))
          return { ...NOTHING, differences, ...(failure.pass ? { failure: new Error(failure.pass) } : {}) }
        },
      }
    },
    report: async () => void did.push('reported'),
    forget: () => did.push('forgot'),
    logger: pino({ level: 'warn' }, { write: (line: string) => void logged.push(JSON.parse(line).err.message) }),
  }
  return () => void vi.useRealTimers()
})

const minutes = (count: number) => vi.advanceTimersByTimeAsync(count * MINUTE_MS + 100)

test('every minute, from a minute after the start until it stops, by one that remembers', async () => {
  const keeper = keepReconciling(deps, MINUTE_MS)
  await minutes(3)
  expect(did).toEqual([])
  keeper.start()
  await minutes(2)
  expect(did).toEqual(['reconciler 1', 'reported', 'reconciler 1', 'reported'])
  await keeper.stop()
  await minutes(3)
  expect(did.slice(4)).toEqual(['left'])
})

test('while it is another process’s turn nothing is compared, and what was seen is forgotten', async () => {
  const keeper = keepReconciling(deps, MINUTE_MS)
  keeper.start()
  await minutes(1)
  turn = false
  await minutes(2)
  turn = true
  await minutes(1)
  expect(did).toEqual(['reconciler 1', 'reported', 'forgot', 'forgot', 'reconciler 2', 'reported'])
  await keeper.stop()
})

test('a store that is away is told once, and once more when it was back in between', async () => {
  const keeper = keepReconciling(deps, MINUTE_MS)
  keeper.start()
  failure = { pass: 'Redis is away' }
  await minutes(3)
  failure = {}
  await minutes(2)
  failure = { question: 'one tenant’s usage is away' }
  await minutes(3)
  failure = { pass: 'all of it is' }
  await minutes(2)
  expect(logged).toEqual(['Redis is away', 'one tenant’s usage is away'])
  expect(did.filter((one) => one === 'reported')).toHaveLength(10)
  // It goes on with what it remembers.
  expect(new Set(did)).toEqual(new Set(['reconciler 1', 'reported']))
  await keeper.stop()
})

test('a Postgres that is away fails no more than a pass', async () => {
  deps.turn.take = async () => {
    throw new Error('Postgres is away')
  }
  const keeper = keepReconciling(deps, MINUTE_MS)
  keeper.start()
  await minutes(2)
  expect(logged).toEqual(['Postgres is away'])
  await keeper.stop()
})

test('a pass under way is waited for when it stops, is not reported, and none begins beside it', async () => {
  hanging = () => undefined
  const keeper = keepReconciling(deps, MINUTE_MS)
  keeper.start()
  await minutes(5)
  expect(did).toEqual(['reconciler 1'])
  let stopped = false
  const stopping = keeper.stop().then(() => {
    stopped = true
  })
  await minutes(1)
  expect(stopped).toBe(false)
  hanging()
  await stopping
  expect(did).toEqual(['reconciler 1', 'left'])
})

test('a pass that corrected something is reported even when it stops', async () => {
  hanging = () => undefined
  const corrected = { usedMicro: 5n, heldMicro: 0n, usageMicro: 0n, driftMicro: 5n, state: 'corrected', isNew: true }
  const counter = { tenant: 1, subject: 'alice', meter: 'tokens', startMs: 0, endMs: 1 }
  differences = new Map([[1, [{ ...corrected, state: 'corrected', counter }]]])
  failure = { pass: 'aborted' }
  const keeper = keepReconciling(deps, MINUTE_MS)
  keeper.start()
  await minutes(1)
  const stopping = keeper.stop()
  hanging()
  await stopping
  expect(did).toEqual(['reconciler 1', 'reported', 'left'])
  expect(logged).toEqual([])
})
