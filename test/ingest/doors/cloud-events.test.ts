import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { decodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import { type Answer, type Json, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

/**
 * Issue 5: structured, batched and binary mode. The cases are those of cloudevents/conformance (HTTP protocol binding
 * and the minimal events of version 1.0), with what a usage event needs beside: a subject, an object as data, and a
 * time that is still accepted.
 */
const TIME = '2026-11-05T03:56:24Z'
const DATA = { message: 'Hello World!' }
const ATTRIBUTES: Readonly<Record<string, string>> = {
  specversion: '1.0',
  type: 'com.example.someevent',
  time: TIME,
  id: '1234-1234-1234',
  source: '/mycontext/subcontext',
  subject: 'customer-1',
}
const SCHEMA = { type: 'record', name: 'Some', fields: [{ name: 'message', type: 'string' }] }

let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`t-${made++}`)
  await tenant.call('PUT', '/event-types/com.example.someevent', { schema: SCHEMA })
})

/** The attributes as headers; undefined leaves one out. */
function binary(change: Readonly<Record<string, string | undefined>> = {}): Record<string, string> {
  const all = Object.entries({ ...ATTRIBUTES, ...change })
  return Object.fromEntries(all.flatMap(([name, value]) => (value === undefined ? [] : [[`ce-${name}`, value]])))
}
const send = (data: unknown, headers: Record<string, string>) => tenant.send(JSON.stringify(data), headers)
const structured = (change: Json = {}) => ({
  ...ATTRIBUTES,
  datacontenttype: 'application/json',
  data: DATA,
  ...change,
})
const first = ({ status, body }: Answer) => ({ status, ...(body.outcomes as Json[] | undefined)?.[0] })

/** What the log holds of this test's tenant, in the terms of the specification. */
async function logged(): Promise<Json[]> {
  const rows = await metering.log.reader.read([0, 0, 0], 1e9)
  const events = rows.flatMap(({ batch }) => decodeBatch(batch)).filter((event) => event.tenant === tenant.id)
  return events.map(({ id, type, source, subject, timeMs, data }) => ({
    ...{ id, type, source, subject },
    time: new Date(timeMs).toISOString().replace('.000Z', 'Z'),
    data: JSON.parse(data) as unknown,
  }))
}
const { specversion: _, ...kept } = ATTRIBUTES
const EXPECTED = { ...kept, data: DATA }

describe('the HTTP protocol binding', () => {
  test.each([['application/json'], ['application/json; charset=utf-8']])(
    'binary content mode (%s)',
    async (contentType) => {
      expect((await send(DATA, { ...binary(), 'content-type': contentType })).status).toBe(202)
      expect(await logged()).toEqual([EXPECTED])
    },
  )

  test.each([['application/cloudevents+json'], ['application/cloudevents+json; charset=utf-8']])(
    'structured content mode (%s)',
    async (contentType) => {
      expect((await send(structured(), { 'content-type': contentType })).status).toBe(202)
      expect(await logged()).toEqual([EXPECTED])
    },
  )

  test('batched content mode', async () => {
    const type = { 'content-type': 'application/cloudevents-batch+json; charset=utf-8' }
    expect((await send([structured(), structured({ id: '2' })], type)).status).toBe(202)
    expect(await logged()).toEqual(expect.arrayContaining([EXPECTED, { ...EXPECTED, id: '2' }]))
    expect((await send(structured(), type)).status).toBe(400)
    expect((await send([], type)).status).toBe(400)
  })

  test('a content type of CloudEvents decides the mode, whatever headers say', async () => {
    const headers = { ...binary({ id: 'in-header' }), 'content-type': 'application/cloudevents+json' }
    expect((await send(structured(), headers)).status).toBe(202)
    expect(await logged()).toEqual([EXPECTED])
  })

  test('the minimal events: an object is taken as data, and what is no object or no JSON is refused', async () => {
    const json = { ...binary(), 'content-type': 'application/json; charset=utf-8' }
    for (const data of ['Hello, 🌎!', ['Hello', '🌎!'], [{ message: 'one in a list' }], 5, null]) {
      expect((await send(data, json)).status).toBe(400)
    }
    for (const type of ['text/plain; charset=us-ascii', 'text/plain; charset=utf-8', 'application/xml']) {
      expect((await tenant.send('Hello', { ...binary(), 'content-type': type })).status).toBe(415)
    }
    expect(await logged()).toEqual([])
    expect((await send({ message: 'Hello, 🌎!' }, json)).status).toBe(202)
    expect(await logged()).toEqual([{ ...EXPECTED, data: { message: 'Hello, 🌎!' } }])
  })

  test('extensions and other headers are no fault', async () => {
    const extensions = { comexampleextension1: 'value', comexampleextension2: '{"othervalue": 5}' }
    expect((await send(DATA, { ...binary(extensions), 'user-agent': 'foo' })).status).toBe(202)
    expect((await send(structured({ ...extensions, id: '2' }), {})).status).toBe(202)
    expect(await logged()).toHaveLength(2)
  })
})

describe('headers', () => {
  test('names may be written in any case', async () => {
    const odd = Object.fromEntries(Object.entries(binary()).map(([name, value]) => [name.toUpperCase(), value]))
    expect((await send(DATA, { ...odd, 'Content-TYPE': 'application/json' })).status).toBe(202)
    expect(await logged()).toEqual([EXPECTED])
  })

  test.each([
    ['Euro%20%E2%82%AC%20%F0%9F%98%80', 'Euro € 😀'],
    ['unnecessarily%2D%65ncoded', 'unnecessarily-encoded'],
    ['"quoted \\"by\\" an older sender"', 'quoted "by" an older sender'],
    ['once%2525', 'once%25'],
    ['plus+stays', 'plus+stays'],
  ])('%s is percent-decoded once', async (subject, decoded) => {
    expect((await send(DATA, binary({ subject }))).status).toBe(202)
    expect(await logged()).toEqual([{ ...EXPECTED, subject: decoded }])
  })

  test.each([['%C0%A0'], ['%FF'], ['100%'], ['%zz'], ['caf\u00e9']])('%s is refused by name', async (subject) => {
    const answer = await send(DATA, binary({ subject }))
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request', errors: [{ path: 'ce-subject' }] } })
  })
})

describe('wrong in every mode', () => {
  test.each([['0.3'], ['1'], ['2.0']])('specversion %s', async (specversion) => {
    const refused = { status: 400, code: 'invalid_value', path: 'specversion' }
    expect(first(await send(DATA, binary({ specversion })))).toMatchObject(refused)
    expect(first(await send(structured({ specversion }), {}))).toMatchObject(refused)
    expect(first(await send([structured({ specversion })], {}))).toMatchObject(refused)
  })

  test.each([['id'], ['source'], ['type'], ['subject']])('without %s', async (name) => {
    const refused = { status: 400, code: 'missing_field', path: name }
    expect(first(await send(DATA, binary({ [name]: undefined })))).toMatchObject(refused)
    expect(first(await send(structured({ [name]: undefined }), {}))).toMatchObject(refused)
    expect(first(await send([structured({ [name]: undefined })], {}))).toMatchObject(refused)
  })

  test('binary mode needs its specversion; an empty body is an event without data', async () => {
    expect(await send(DATA, binary({ specversion: undefined }))).toMatchObject({
      status: 400,
      body: { errors: [{ path: 'ce-specversion' }] },
    })
    expect(first(await tenant.send('', binary()))).toMatchObject({ status: 400, code: 'missing_field', path: 'data' })
  })
})
