import { expect, test } from 'vitest'
import { createRecords } from '../../../ops/bench/aggregator/log-rows.ts'
import { DESIGNS, openDesign } from '../../../ops/bench/deduplication/designs.clickhouse.ts'
import { trafficOf } from '../../../ops/bench/deduplication/traffic.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'

const TENANT = 7
const SIZE = { slices: 14, eventsPerSlice: 500 }

/** What a comparison is worth depends on it: all three answer what a set of identities comes to. */
test('the designs that the bench compares all count every identity once, whatever share of events are copies', async () => {
  const slices = [...trafficOf({ ...SIZE, copiesPercent: 10 }, TENANT, Date.now() - 60_000)]
  const sent = slices.flatMap(({ events }) => events)
  const once = new Set(sent.map(({ encoded }) => encoded.toString('base64')))
  expect(once.size).toBeLessThan(sent.length * 0.95)
  const store = await openUsageStore()
  const answers: Map<string, number>[] = []
  // Each has tables of its own, and chDB opens one folder a process.
  for (const name of DESIGNS) {
    const design = await openDesign(name, store, TENANT)
    const records = createRecords()
    for (const { events, nowMs } of slices) await design.store(records.next(events), nowMs)
    answers.push(new Map([...(await design.usage())].map(([subject, used]) => [subject, Number(used)])))
  }
  await store.close()
  const [first] = answers
  expect(first?.size).toBe(100)
  for (const answer of answers) expect(answer).toEqual(first)
})
