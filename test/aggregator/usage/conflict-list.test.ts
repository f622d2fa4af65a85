import { Registry } from 'prom-client'
import { v7 } from 'uuid'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { replayDeadLetters } from '../../../aggregator/dead-letters/replay.ts'
import { insertDeadLetter, insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { createConflictGauge } from '../../../aggregator/usage/conflict-gauge.prometheus.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'
import { cloudEvent, type Json, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`t-${made++}`)
  await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
})

/** Sends the id twice, with another payload each time, a second later each. */
async function conflict(...ids: string[]): Promise<void> {
  for (const id of ids) {
    for (let copy = 0; copy < 2; copy++) {
      metering.clock.nowMs += 1_000
      await tenant.send(JSON.stringify(cloudEvent(id, { tokens: metering.clock.nowMs % 100_000 })))
    }
  }
  await metering.settled()
}
async function page(query: string): Promise<{ ids: unknown[]; next: string | null }> {
  const { status, body } = await tenant.call('GET', `/event-conflicts?${query}`)
  expect(status).toBe(200)
  return { ids: (body.event_conflicts as Json[]).map(({ id }) => id), next: body.next as string | null }
}

describe('the list of conflicts', () => {
  test('comes in pages, each conflict once, also among those of one instant', async () => {
    await conflict('a', 'b')
    metering.clock.nowMs += 1_000
    const copies = (tokens: number) => ['c', 'd', 'e'].map((id) => cloudEvent(id, { tokens }))
    for (const tokens of [1, 2]) await tenant.send(JSON.stringify(copies(tokens)))
    await metering.settled()
    const seen: unknown[] = []
    let cursor = ''
    for (let pages = 0; pages < 3; pages++) {
      const { ids, next } = await page(`limit=2${cursor}`)
      seen.push(...ids)
      cursor = `&cursor=${next}`
    }
    expect(seen).toEqual(['c', 'd', 'e', 'b', 'a'])
    expect(await page('limit=6')).toEqual({ ids: seen, next: null })
    expect(await page(`limit=5`)).toMatchObject({ next: expect.any(String) })
  })

  test('of a window holds those whose last payload became known in it', async () => {
    await conflict('a')
    const from = new Date(metering.clock.nowMs + 1).toISOString()
    await conflict('b')
    const to = new Date(metering.clock.nowMs + 1).toISOString()
    await conflict('c')
    expect((await page(`from=${from}&to=${to}`)).ids).toEqual(['b'])
    expect((await page(`from=${from}`)).ids).toEqual(['c', 'b'])
    expect((await page(`to=${from}`)).ids).toEqual(['a'])
    await conflict('a')
    expect((await page(`to=${from}`)).ids).toEqual([])
  })

  test('knows no operations: a void contradicts nothing', async () => {
    await tenant.send(JSON.stringify(cloudEvent('a')))
    await tenant.call('POST', '/events/void', { source: 'test', id: 'a', reason: 'a test' })
    await tenant.call('POST', '/events/void', { source: 'test', id: 'b', reason: 'a test' })
    await tenant.call('POST', '/events/void', { source: 'test', id: 'b', reason: 'another' })
    await metering.settled()
    expect(await page('')).toEqual({ ids: [], next: null })
  })

  test.each(['cursor=x', `cursor=${Buffer.from('[1,2,3]').toString('base64url')}`, 'from=yesterday', 'to=1'])(
    '%s is refused',
    async (query) => {
      expect((await tenant.call('GET', `/event-conflicts?${query}`)).status).toBe(400)
    },
  )
})

/** ops/decisions/0011: the pump was behind; what it stored then was not among the hours that the gauge looked at. */
test('the gauge follows what is stored hours after it was appended, and what is replayed from dead letters', async () => {
  const metrics = new Registry()
  const { store } = metering
  let nowMs = NOVEMBER_20
  const gauge = createConflictGauge({ store, metrics, now: () => nowMs, stopping: () => false })
  const shown = async () => {
    await gauge.refresh(tenant.id, 'this')
    const [metric] = await metrics.getMetricsAsJSON()
    return metric?.values.find(({ labels }) => labels.tenant === 'this')?.value
  }
  const logOf = `lagging-${tenant.id}`
  const copy = (id: string, tokens: number) => usageEvent(id, { tenant: tenant.id, data: { tokens } })
  await insertRecords(store, logOf, [logRow([copy('a', 1), copy('b', 1)], { knownAtMs: NOVEMBER_20, offset: 0 })])
  expect(await shown()).toBe(0)
  nowMs += 5 * 3_600_000
  expect(await shown()).toBe(0)
  await insertRecords(store, logOf, [logRow([copy('a', 2)], { knownAtMs: NOVEMBER_20 + 1, offset: 1 })])
  expect(await shown()).toBe(1)
  // A record before others that are stored, which nobody could read until now.
  const place = { log: logOf, partition: 1, offset: 0 }
  await insertDeadLetter(store, logOf, logRow([copy('b', 3)], place), 'a test')
  await insertRecords(store, logOf, [logRow([copy('c', 1)], { partition: 1, offset: 1 })])
  expect(await shown()).toBe(1)
  await replayDeadLetters({ store, now: () => nowMs }, [0], place)
  expect(await shown()).toBe(2)
  expect(await shown()).toBe(2)
})

test('the gauge follows: new conflicts, also in shards with older ones; hours later too; each tenant’s own', async () => {
  const metrics = new Registry()
  const { store, clock } = metering
  const gauge = createConflictGauge({ store, metrics, now: () => clock.nowMs, stopping: () => false })
  const shown = async () => {
    await gauge.refresh(tenant.id, 'this')
    const [metric] = await metrics.getMetricsAsJSON()
    return metric?.values.find(({ labels }) => labels.tenant === 'this')?.value
  }
  const slice = clock.nowMs
  expect(await shown()).toBe(0)
  await conflict('opaque', v7({ msecs: slice }))
  expect(await shown()).toBe(2)
  clock.nowMs += 5 * 3_600_000
  await conflict('opaque', v7({ msecs: slice + 1 }), 'another')
  expect(await shown()).toBe(4)
  expect(await shown()).toBe(4)
  const other = await metering.tenant(`t-${made++}`)
  await gauge.refresh(other.id, 'other')
  const [metric] = await metrics.getMetricsAsJSON()
  expect(metric?.values.map(({ labels, value }) => [labels.tenant, value])).toEqual([
    ['this', 4],
    ['other', 0],
  ])
})
