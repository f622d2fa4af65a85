import { describe, expect, test } from 'vitest'
import { topicFault } from '../../../../ingest/doors/kafka/input.ts'
import { readJsonRecord } from '../../../../ingest/doors/kafka/json-record.ts'

const event = { specversion: '1.0', id: 'a', source: 's', type: 't', subject: 'me', data: { tokens: 1 } }
const read = (value: string, headers: Record<string, string> = {}) =>
  readJsonRecord({ offset: 0, value: Buffer.from(value), headers: new Map(Object.entries(headers)) })
const binary = { ce_specversion: '1.0', ce_id: 'a', ce_source: 's', ce_type: 't', ce_subject: 'me' }

describe('the Kafka binding of CloudEvents', () => {
  test('structured, batched, and JSON without a content type', async () => {
    const structured = 'application/cloudevents+json; charset=UTF-8'
    expect(await read(JSON.stringify(event), { 'content-type': structured })).toEqual({ events: [event] })
    const batched = { 'content-type': 'application/cloudevents-batch+json' }
    expect(await read(JSON.stringify([event, event]), batched)).toEqual({ events: [event, event] })
    expect(await read(JSON.stringify(event))).toEqual({ events: [event] })
    expect(await read(JSON.stringify([event]))).toEqual({ events: [event] })
  })

  test('binary: attributes are headers, as they stand there, and the value is the data', async () => {
    const { data } = event
    expect(await read(JSON.stringify(data), { ...binary, ce_id: '100%20 é' })).toEqual({
      events: [{ ...event, id: '100%20 é' }],
    })
    expect(await read(JSON.stringify(data), { ...binary, 'content-type': 'application/json' })).toEqual({
      events: [event],
    })
    expect(await read(JSON.stringify(data), { ...binary, ce_tallyhold: 'hold-1' })).toEqual({
      events: [{ ...event, tallyhold: 'hold-1' }],
    })
    expect(await read('', binary), 'without data it is refused later, as at any door').toMatchObject({
      events: [{ id: 'a' }],
    })
  })

  test('a content type of CloudEvents means that it is not binary', async () => {
    const headers = { ...binary, ce_id: 'other', 'content-type': 'application/cloudevents+json' }
    expect(await read(JSON.stringify(event), headers)).toEqual({ events: [event] })
  })

  test.each([
    ['no JSON', '{', {}, 'invalid_json'],
    ['nothing', '', {}, 'invalid_request'],
    ['no object', '1', {}, 'invalid_request'],
    ['an empty list', '[]', {}, 'invalid_request'],
    ['no UTF-8', '\u{1F4A9}', { 'content-type': 'text/plain' }, 'unsupported_media_type'],
    ['headers without a version', '{}', { ce_id: 'a' }, 'invalid_request'],
    ['data that is no JSON', '<a/>', { ...binary, 'content-type': 'text/xml' }, 'unsupported_media_type'],
    ['deep nesting', `${'['.repeat(70)}${']'.repeat(70)}`, {}, 'invalid_json'],
  ])('%s is a fault with a code', async (_, value, headers, code) => {
    expect(await read(value, headers as Record<string, string>)).toMatchObject({ code, message: expect.any(String) })
  })
})

describe('invariant 7: a topic is a tenant’s by its name', () => {
  test.each([
    ['in.acme.usage', true],
    ['in.acme.a.b-c_d', true],
    ['in.acme.', false],
    ['in.acme', false],
    ['in.acme-2.usage', false],
    ['in.acme.with space', false],
    [`in.acme.${'x'.repeat(249)}`, false],
    ['tallyline-events-0123456789abcdef', false],
    ['acme.usage', false],
  ])('%s', (topic, may) => {
    expect(topicFault(topic, 'in.', 'acme') === undefined).toBe(may)
  })
})
