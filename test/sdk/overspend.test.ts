import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTallyline, type Decision, type Tallyline } from '../../sdk/typescript/src/tallyline.ts'
import { quotaModel } from './support/quota-model.ts'
import { type Scripted, type Sent, scriptedServer } from './support/scripted-server.ts'
import { type VirtualClock, virtualClock } from './support/virtual-clock.ts'

type Network = 'well' | 'lost' | 'answer lost' | 'slow'
/** One thing that happens. */
type Step =
  | { kind: 'work'; client: number; quantity: number; waits: boolean; done: boolean }
  | { kind: 'pass'; ms: number }
  | { kind: 'crash'; client: number }
  | { kind: 'network'; network: Network }
  | { kind: 'outage'; ms: number }

const CLIENTS = 3
const SLOW_MS = 700

/** Several clients of one limit, the network between, and what was admitted whose event never arrived in time. */
function world(limit: number, clock: VirtualClock) {
  const model = quotaModel(limit, clock.monotonicMs)
  const admitted = { units: 0, onHold: new Map<string, number>() }
  let network: Network = 'well'
  let awayUntilMs = 0
  const answer = async (sent: Sent): Promise<Scripted> => {
    const now = network
    if (clock.monotonicMs() < awayUntilMs || now === 'lost') throw new TypeError('fetch failed')
    if (now === 'slow') await new Promise<void>((resolve) => clock.after(SLOW_MS, resolve))
    const answered = model.answer(sent)
    if (now === 'answer lost') throw new TypeError('connection reset')
    return answered
  }
  const start = () => {
    let alive = true
    const { fetch } = scriptedServer((sent) => (alive ? answer(sent) : new Promise(() => undefined)))
    const tallyline = createTallyline({
      url: 'http://server.test',
      key: 'tly_test',
      clock,
      fetch,
      random: () => 0.5,
      lingerMs: 50,
      longestRetryMs: 1_000,
      gzipFromBytes: 1e9,
      quota: { whenAway: 'closed', leaseMs: 5_000, idleMs: 2_000, share: 0.1 },
    })
    const crash = () => {
      alive = false
    }
    return { tallyline, crash }
  }
  const clients = Array.from({ length: CLIENTS }, start)

  const emit = (tallyline: Tallyline, quantity: number, hold: string | undefined) =>
    tallyline.emit({ type: 'work', subject: 'customer-1', data: { quantity }, hold })
  const admit = (client: number, decision: Decision, quantity: number, done: boolean) => {
    const { tallyline } = clients[client]!
    if (!decision.allowed) return
    if (!done) return tallyline.giveBack(decision, 'customer-1', 'work', quantity)
    admitted.units += quantity
    admitted.onHold.set(decision.hold ?? '', (admitted.onHold.get(decision.hold ?? '') ?? 0) + quantity)
    emit(tallyline, quantity, decision.hold)
  }
  const follow = async (step: Step) => {
    if (step.kind === 'pass') await clock.pass(step.ms)
    if (step.kind === 'network') network = step.network
    if (step.kind === 'outage') awayUntilMs = clock.monotonicMs() + step.ms
    if (step.kind === 'crash') {
      clients[step.client]!.crash()
      clients[step.client] = start()
    }
    if (step.kind !== 'work') return
    const { tallyline } = clients[step.client]!
    if (step.waits) {
      const asking = tallyline.check('customer-1', 'work', step.quantity)
      const asker = clients[step.client]
      asking.then((decision) => {
        // The work of a process that died is not done.
        if (clients[step.client] === asker) admit(step.client, decision, step.quantity, step.done)
      })
      await clock.pass(1)
      return
    }
    const decision = tallyline.decide('customer-1', 'work', step.quantity)
    if (decision) admit(step.client, decision, step.quantity, step.done)
  }
  /** On leases that ended before the events of all they admitted had arrived: at most what those leases held. */
  const lost = () => {
    model.endHolds()
    const ended = [...model.holds.values()].filter((hold) => hold.ended)
    return ended.reduce(
      (sum, { id, recorded }) => sum + Math.max(0, (admitted.onHold.get(id) ?? 0) - recorded / 1e6),
      0,
    )
  }
  return { model, admitted, follow, lost, calm: () => (network = 'well') }
}

const client = fc.nat(CLIENTS - 1)
const work = fc.record({
  kind: fc.constant('work' as const),
  client,
  // Now and then far too much for the limit.
  quantity: fc.oneof(
    { arbitrary: fc.integer({ min: 1, max: 12 }), weight: 9 },
    { arbitrary: fc.integer({ min: 13, max: 300 }), weight: 1 },
  ),
  waits: fc.boolean(),
  done: fc.oneof({ arbitrary: fc.constant(true), weight: 9 }, { arbitrary: fc.constant(false), weight: 1 }),
})
const pass = fc.record({ kind: fc.constant('pass' as const), ms: fc.constantFrom(1, 10, 100, 1_000, 4_000, 16_000) })
const network = fc.record({
  kind: fc.constant('network' as const),
  network: fc.constantFrom<Network>('well', 'well', 'lost', 'answer lost', 'slow'),
})
const crash = fc.record({ kind: fc.constant('crash' as const), client })
const outage = fc.record({ kind: fc.constant('outage' as const), ms: fc.constantFrom(1_000, 20_000, 60_000) })
const LONG = { minLength: 40, maxLength: 150, size: 'max' } as const
const weighed = <T>(arbitrary: fc.Arbitrary<T>, weight: number) => ({ arbitrary, weight })

/** Issue 6: overspend ≤ outstanding leases; a client that fails closed admits nothing that was not taken before. */
describe('the bound on overspend', () => {
  test('no crash, and every event arrives while its lease lasts: never beyond the limit', async () => {
    const step = fc.oneof(weighed(work, 8), weighed(pass, 3), weighed(network, 1))
    let runsAtLimit = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, LONG), fc.integer({ min: 1, max: 200 }), async (steps, limit) => {
        const { admitted, follow, calm, model } = world(limit, virtualClock())
        let spoiledMs = 0
        for (const next of steps) {
          // A network that is gone for longer than a lease's grace is for the other test.
          if (next.kind === 'network' && next.network === 'well') spoiledMs = 0
          if (next.kind === 'pass') spoiledMs += next.ms
          if (spoiledMs > 5_000) {
            calm()
            spoiledMs = 0
          }
          await follow(next)
          expect(admitted.units).toBeLessThanOrEqual(limit)
          expect(model.counter()).toBeLessThanOrEqual(limit)
        }
        if (admitted.units > limit * 0.9) runsAtLimit++
      }),
      { numRuns: 150 },
    )
    // The limit was reached: it is what stopped them.
    expect(runsAtLimit).toBeGreaterThan(20)
  })

  test('crashes, outages, lost answers: beyond it at most what ended leases had admitted unrecorded', async () => {
    const step = fc.oneof(
      weighed(work, 12),
      weighed(pass, 4),
      weighed(network, 1),
      weighed(crash, 1),
      weighed(outage, 1),
    )
    let runsWithLoss = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, LONG), fc.integer({ min: 1, max: 200 }), async (steps, limit) => {
        const { admitted, follow, lost, model } = world(limit, virtualClock())
        for (const next of steps) {
          await follow(next)
          expect(admitted.units).toBeLessThanOrEqual(limit + lost())
        }
        for (const hold of model.holds.values()) {
          expect(admitted.onHold.get(hold.id) ?? 0).toBeLessThanOrEqual(hold.granted / 1e6)
        }
        if (lost() > 0) runsWithLoss++
      }),
      { numRuns: 150 },
    )
    // The faults really took events whose work had been admitted.
    expect(runsWithLoss).toBeGreaterThan(5)
  })

  test('a client whose clocks stand still is found out: it goes on with a lease that ended', async () => {
    const clock = virtualClock()
    const model = quotaModel(100, clock.monotonicMs)
    const { fetch } = scriptedServer(model.answer)
    const stopped = { ...clock, monotonicMs: () => 0, wallMs: () => 0 }
    const quota = { whenAway: 'closed', firstQuantity: 50, idleMs: 1e9 } as const
    const options = { url: 'http://server.test', key: 'tly_test', fetch, quota }
    const [late, prompt] = [stopped, clock].map((each) => createTallyline({ ...options, clock: each }))
    let admitted = 0
    const work = async (client: Tallyline) => {
      if ((await client.check('customer-1', 'work')).allowed) admitted++
    }
    await work(late!)
    await clock.pass(60_000)
    model.endHolds()
    for (let n = 0; n < 150; n++) {
      await work(prompt!)
      await clock.pass(20)
    }
    for (let n = 0; n < 30; n++) await work(late!)
    expect(admitted).toBeGreaterThan(100)
  })
})
