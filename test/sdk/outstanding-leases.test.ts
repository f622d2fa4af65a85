import { expect, test } from 'vitest'
import { nextLease } from '../../sdk/typescript/src/lease-size.ts'
import { settingsOf } from '../../sdk/typescript/src/settings.ts'
import { createTallyline } from '../../sdk/typescript/src/tallyline.ts'
import { quotaModel } from './support/quota-model.ts'
import { scriptedServer } from './support/scripted-server.ts'
import { virtualClock } from './support/virtual-clock.ts'

const PER_SECOND = 1_000
const SERVER = { url: 'http://server.test', key: 'tly_test' }
/** As ingest/quota/README.md says it. */
const heldAtMost = (processes: number, remaining: number) =>
  1.25 * Math.min(5 * PER_SECOND, processes * Math.max(0.005 * remaining, 0.1 * PER_SECOND))

/** Issue 6: below 1 % of the limit at 1,000 decisions a second, with the defaults; ingest/quota/README.md, H. */
test.each([
  [1, 20_000, 0.01],
  [1, 60_000, 0.01],
  [4, 60_000, 0.04],
])('%i processes on a limit of %i never hold more than the bound says', async (processes, limit, share) => {
  const clock = virtualClock()
  const model = quotaModel(limit, clock.monotonicMs)
  const { fetch } = scriptedServer(model.answer)
  const clients = Array.from({ length: processes }, () =>
    createTallyline({ ...SERVER, clock, fetch, random: () => 0.5, gzipFromBytes: 1e9, quota: { whenAway: 'closed' } }),
  )
  const usedOf = new Map<string, number>()
  let [admitted, refused, most] = [0, 0, 0]
  for (let ms = 0; refused < 100; ms++) {
    const client = clients[ms % processes]!
    const decision = client.decide('customer-1', 'work')
    if (decision?.allowed) {
      admitted++
      usedOf.set(decision.hold ?? '', (usedOf.get(decision.hold ?? '') ?? 0) + 1)
      client.emit({ type: 'work', subject: 'customer-1', data: { quantity: 1 }, hold: decision.hold })
    } else if (decision) refused++
    await clock.pass(1)
    if (ms % 50 !== 0) continue
    // What a store that is lost now would forget: granted, and neither used nor given back.
    const onTheirWay = ({ id, recorded }: { id: string; recorded: number }) => (usedOf.get(id) ?? 0) - recorded / 1e6
    const held = [...model.holds.values()].reduce((sum, hold) => sum + hold.left / 1e6 - onTheirWay(hold), 0)
    // What it holds was granted while at most so much more remained.
    expect(held).toBeLessThanOrEqual(heldAtMost(processes, limit - admitted + most))
    most = Math.max(most, held)
  }
  expect(admitted).toBe(limit)
  expect(most).toBeLessThanOrEqual(share * limit)
  expect(most).toBeGreaterThan(0.5 * heldAtMost(processes, limit))
})

test('the table of ingest/quota/README.md is what the defaults come to', () => {
  const { quota } = settingsOf(SERVER)
  const remaining = 30 * PER_SECOND + heldAtMost(Number.POSITIVE_INFINITY, 1)
  const units = (processes: number, left: number) => {
    const rate = (PER_SECOND * 1e6) / 1_000 / processes
    const demand = { drawnMicro: rate * 1_000, elapsedMs: 1_000, rate, neededMicro: 1e6, remainingMicro: left * 1e6 }
    return Math.round((1.25 * processes * nextLease(demand, quota).micro) / 1e6)
  }
  expect([1, 4, 10, 1_000].map((processes) => units(processes, remaining))).toEqual([227, 906, 2_266, 6_250])
  expect(units(1, 12_500)).toBe(125)
})
