import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { EventHistory, EventOperation } from '../../../ingest/corrections/history.ts'
import { visibleHistory } from '../../../ingest/corrections/visible-history.ts'
import { cloudEvent, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

/** HC-8: an event is seen by whoever may see the subject it counts for; of other subjects nothing is learned. */
const payload = (subject: string) => ({ type: 't', subject, time: 'now', data: `{"of":"${subject}"}` })
const copy = (subject: string) => ({ ...payload(subject), time_given: true, known_at: 'then' })
const operation = (id: string, subject?: string): EventOperation => ({
  ...{ operation_id: id, reason: 'secret reason', by: 'secret key', known_at: 'then' },
  ...(subject === undefined ? { kind: 'void' as const } : { kind: 'replace' as const, event: payload(subject) }),
})
const history = (change: Partial<EventHistory>): EventHistory => ({
  ...{ source: 's', id: 'i', state: 'counts', event: payload('me'), copies: [copy('me')], operations: [] },
  ...change,
})

describe('what is seen of an event', () => {
  test('an own event is seen whole, without the copies that came with another subject', () => {
    expect(visibleHistory(history({ copies: [copy('me'), copy('other')] }), ['me'])).toEqual(history({}))
    expect(visibleHistory(history({ copies: [copy('me'), copy('other')] }), ['other'])).toBeUndefined()
  })

  test('one that was replaced belongs to the subject of the replacement, and to the one before no longer', () => {
    const moved = history({ event: payload('new'), operations: [operation('1', 'new')] })
    expect(visibleHistory(moved, ['me'])).toBeUndefined()
    expect(visibleHistory(moved, ['new'])).toEqual({
      ...moved,
      copies: [],
      operations: [{ ...operation('1', 'new'), reason: '', by: '' }],
    })
  })

  test('one that was voided is seen by whom it counted for; one that waits by nobody with a scope', () => {
    const voided = {
      source: 's',
      id: 'i',
      state: 'voided',
      copies: [copy('me')],
      operations: [operation('1')],
    } as const
    expect(
      visibleHistory({ ...voided, copies: [...voided.copies], operations: [...voided.operations] }, ['me']),
    ).toEqual({
      ...voided,
      operations: [{ operation_id: '1', kind: 'void', reason: '', by: '', known_at: 'then' }],
    })
    const waits = { ...history({ state: 'waits', copies: [], operations: [operation('1', 'me')] }) }
    expect(visibleHistory(waits, ['me'])).toBeUndefined()
    expect(visibleHistory(waits, 'everything')).toBe(waits)
  })

  test('nothing of another subject, no reason and no key is in any answer', () => {
    const subject = fc.constantFrom('me', 'mine', 'other', 'another')
    const made = fc.record({
      copies: fc.array(subject.map(copy), { maxLength: 4 }),
      operations: fc.array(
        fc.option(subject, { nil: undefined }).map((of) => operation('1', of)),
        { maxLength: 4 },
      ),
    })
    fc.assert(
      fc.property(made, ({ copies, operations }) => {
        const effective = operations.at(-1)?.event ?? copies[0]
        const whole = { source: 's', id: 'i', copies, operations }
        const all: EventHistory =
          copies.length === 0
            ? { ...whole, state: 'waits' }
            : operations.at(-1)?.kind === 'void'
              ? { ...whole, state: 'voided' }
              : { ...whole, state: 'counts', event: payload(effective?.subject ?? '') }
        expect(JSON.stringify(visibleHistory(all, ['me', 'mine']) ?? {})).not.toMatch(/other|secret/)
        expect(visibleHistory(all, [])).toBeUndefined()
        expect(visibleHistory(all, 'everything')).toBe(all)
      }),
    )
  })
})

describe('GET /events', () => {
  let metering: Metering
  let tenant: Tenant
  beforeAll(async () => {
    metering = await openMetering()
    tenant = await metering.tenant('t')
    await tenant.call('PUT', '/event-types/llm.request', { schema: LLM_SCHEMA })
    const events = [cloudEvent('mine', {}, { subject: 'u-1' }), cloudEvent('other', {}, { subject: 'u-2' })]
    const sent = await tenant.send(JSON.stringify(events.map((event) => ({ ...event, data: { tokens: 1 } }))))
    expect(sent.status).toBe(202)
    const event = { type: 'llm.request', subject: 'u-2', time: '2026-11-19T11:00:00Z', data: { tokens: 2 } }
    expect((await tenant.send(JSON.stringify(cloudEvent('moved', { tokens: 1 }, { subject: 'u-1' })))).status).toBe(202)
    await tenant.call('POST', '/events/replace', { source: 'test', id: 'moved', reason: 'was u-2’s', event })
    await metering.settled()
  })
  afterAll(() => metering.close())

  test('an event of another subject is answered like one that was never sent', async () => {
    const user = metering.scopedKey(tenant, 'user', { subjects: ['u-1'] })
    expect(await user.call('GET', '/events?source=test&id=mine')).toMatchObject({
      status: 200,
      body: { event: { subject: 'u-1' } },
    })
    const never = await user.call('GET', '/events?source=test&id=never')
    expect(never.status).toBe(404)
    for (const id of ['other', 'moved']) {
      const { status, body } = await user.call('GET', `/events?source=test&id=${id}`)
      expect({ status, body }).toEqual({
        status: 404,
        body: JSON.parse(JSON.stringify(never.body).replaceAll('never', id)) as unknown,
      })
      expect(await tenant.call('GET', `/events?source=test&id=${id}`)).toMatchObject({ status: 200 })
    }
  })
})
