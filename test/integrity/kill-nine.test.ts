import { expect, test } from 'vitest'
import { drawSeed } from '../support/random.ts'
import { killNine } from './kill-nine.ts'

const KILLS = 20
const EVENTS_PER_SECOND = 2_000

/** reliability.md §3.1 C1, C2, C3, C5; design.md §4.1, §4.2, §4.5. */
test('twenty times kill -9 under load lose nothing that was acknowledged and count nothing twice', async () => {
  const seed = drawSeed('kill -9')
  const report = await killNine({ seed, kills: KILLS, perSecond: EVENTS_PER_SECOND })
  const { ledger, killsWhileServing, killsWhileStarting, ...found } = report
  process.stdout.write(
    `kill -9: ${killsWhileServing} times serving, ${killsWhileStarting} times starting; ${ledger.events.size} events, ` +
      `${ledger.failedRequests} requests without answer, ${ledger.copiesSent} copies\n`,
  )
  expect(ledger.surprises.slice(0, 5), `seed ${seed}`).toEqual([])
  expect(ledger.acknowledged.size).toBe(ledger.events.size)
  // Without these nothing was tried.
  expect(ledger.events.size).toBeGreaterThan(KILLS * 100)
  expect(ledger.failedRequests).toBeGreaterThan(0)
  expect(ledger.copiesSent).toBeGreaterThan(ledger.events.size / 40)
  expect(found, `seed ${seed}`).toEqual({
    identities: [],
    usage: [],
    invoices: [],
    payments: [],
    runState: 'completed',
  })
}, 280_000)
