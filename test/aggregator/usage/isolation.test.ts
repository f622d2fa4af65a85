import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertDeadLetter } from '../../../aggregator/pump/insert.clickhouse.ts'
import { logRow } from '../../support/log-events.ts'
import { cloudEvent, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

const RANGE = 'from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z'
let metering: Metering
let a: Tenant
let b: Tenant

/** Two tenants with the same names for everything and other numbers. */
beforeAll(async () => {
  metering = await openMetering()
  a = await metering.tenant('a')
  b = await metering.tenant('b')
  for (const [tenant, tokens] of [
    [a, 1],
    [b, 1_000],
  ] as const) {
    await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
    const meter = { event_type: 'llm.request', aggregation: 'sum', value: 'tokens', group_by: ['model'] }
    await tenant.call('PUT', '/meters/tokens', meter)
    const model = tenant === a ? 'model-of-a' : 'model-of-b'
    const events = Array.from({ length: 20 }, (_, n) => cloudEvent(`row-${n}`, { tokens, model }))
    await tenant.send(JSON.stringify(events))
    await tenant.send(JSON.stringify(cloudEvent('row-0', { tokens: tokens * 7, model })))
  }
  await b.call('PUT', '/event-types/secret', { schema: { ...LLM_SCHEMA, name: 'Secret' } })
  await b.call('PUT', '/meters/secret', { event_type: 'secret', aggregation: 'count' })
  await metering.settled()
})
afterAll(() => metering.close())

describe('tenants never see each other (invariant 7, EPIC-5)', () => {
  test('identities are the tenant’s own: the same source and id of another is another event', async () => {
    for (const [tenant, tokens] of [
      [a, '20'],
      [b, '20000'],
    ] as const) {
      const { body } = await tenant.call('GET', `/usage?meter=tokens&${RANGE}`)
      expect(body.total).toEqual({ quantity: tokens, events: 20 })
    }
  })

  test('every way to ask for usage answers the tenant’s own', async () => {
    for (const query of ['', '&subject=customer-1', '&group_by=model', '&group_by=subject', '&window=day']) {
      const { body } = await a.call('GET', `/usage?meter=tokens&${RANGE}${query}`)
      expect(body.total).toMatchObject({ quantity: '20' })
      expect(JSON.stringify(body)).not.toContain('model-of-b')
    }
  })

  test('what another has is not there: meters, event types', async () => {
    for (const url of ['/meters/secret', '/event-types/secret', `/usage?meter=secret&${RANGE}`])
      expect(await a.call('GET', url)).toMatchObject({ status: 404 })
    expect((await a.call('GET', '/meters')).body.meters).toMatchObject([{ slug: 'tokens' }])
    expect((await a.call('GET', '/event-types')).body.event_types).toMatchObject([{ type: 'llm.request' }])
    expect(await a.send(JSON.stringify(cloudEvent('x', { tokens: 1 }, { type: 'secret' })))).toMatchObject({
      status: 400,
    })
  })

  test('conflicts and dead letters are the tenant’s own; records of nobody are for operators', async () => {
    const conflicts = (await a.call('GET', '/event-conflicts')).body.event_conflicts as { counted: { data: string } }[]
    expect(conflicts).toHaveLength(1)
    expect(conflicts[0]?.counted.data).toContain('model-of-a')
    await insertDeadLetter(metering.store, 'a-log', logRow([]), 'it was no Avro')
    for (const tenant of [a, b])
      expect(await tenant.call('GET', '/dead-letters')).toMatchObject({ status: 200, body: { dead_letters: [] } })
  })

  test('nothing that stands in a query crosses over', async () => {
    const odd = fc.oneof(
      fc.constantFrom(
        "tokens' OR '1'='1",
        "') OR tenant > 0 --",
        '{tenant:UInt32}',
        `tokens', tenant = ${b.id}`,
        '*',
        'tokens\u0001',
        "tokens') UNION ALL SELECT * FROM events --",
      ),
      // A zero byte cannot reach Postgres at all.
      fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }).map((text) => text.replaceAll('\u0000', '0')),
    )
    const member = fc.constantFrom('meter', 'subject', 'customer', 'group_by', 'timezone', 'from', 'window')
    await fc.assert(
      fc.asyncProperty(member, odd, async (name, value) => {
        const query = new URLSearchParams(`meter=tokens&${RANGE}`)
        query.set(name, value)
        const answer = await a.call('GET', `/usage?${query}`)
        expect(answer.status).toBeLessThan(500)
        const events = (answer.body.total as { events: number } | undefined)?.events ?? 0
        expect(events).toBeLessThanOrEqual(20)
        expect(JSON.stringify(answer.body)).not.toContain('model-of-b')
      }),
      { numRuns: 80 },
    )
  })
})
