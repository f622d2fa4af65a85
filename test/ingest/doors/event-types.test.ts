import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { decodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import { cloudEvent, LLM_SCHEMA, type Metering, openMetering, type Tenant } from '../../support/metering.ts'

let metering: Metering
let tenant: Tenant
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`t-${made++}`)
})

const put = (body: object) => tenant.call('PUT', '/event-types/llm.request', body)
const send = (data: Record<string, unknown>, id = 'a') => tenant.send(JSON.stringify(cloudEvent(id, data)))
/** The bytes of this test's tenant as they lie in the log. */
async function logged(): Promise<string> {
  const rows = await metering.log.reader.read([0, 0, 0], 1e9)
  const mine = rows.filter(({ batch }) => decodeBatch(batch).some((event) => event.tenant === tenant.id))
  return Buffer.concat(mine.map(({ batch }) => Buffer.from(batch))).toString('latin1')
}

/** HC-11: a metadata allow-list per schema; no clinical data is stored. */
test('a type that drops undeclared fields stores events without them', async () => {
  expect(await put({ schema: LLM_SCHEMA, unknown_fields: 'drop' })).toMatchObject({
    status: 200,
    body: { version: 1, unknown_fields: 'drop' },
  })
  expect((await send({ tokens: 7, diagnosis: 'J45.9', note: { patient: 'Ada' } })).status).toBe(202)
  const bytes = await logged()
  expect(bytes).toContain('{"tokens":7,"model":"small","cost":null}')
  for (const word of ['diagnosis', 'J45', 'note', 'Ada']) expect(bytes).not.toContain(word)
})

test('one that says nothing refuses them, and stores nothing', async () => {
  expect(await put({ schema: LLM_SCHEMA })).toMatchObject({ body: { unknown_fields: 'refuse' } })
  expect(await send({ tokens: 7, diagnosis: 'J45.9' })).toMatchObject({
    status: 400,
    body: { outcomes: [{ code: 'unknown_field', path: 'data.diagnosis' }] },
  })
  expect(await logged()).toBe('')
})

test('the policy is part of the registration: it holds from the next event on, and is listed', async () => {
  await put({ schema: LLM_SCHEMA })
  expect(await put({ schema: LLM_SCHEMA, unknown_fields: 'drop' })).toMatchObject({ body: { version: 2 } })
  expect(await put({ schema: LLM_SCHEMA, unknown_fields: 'drop' })).toMatchObject({ body: { version: 2 } })
  expect((await send({ tokens: 1, extra: 1 })).status).toBe(202)
  expect(await tenant.call('GET', '/event-types/llm.request')).toMatchObject({ body: { unknown_fields: 'drop' } })
  expect(await put({ schema: LLM_SCHEMA })).toMatchObject({ body: { version: 3, unknown_fields: 'refuse' } })
  expect((await send({ tokens: 1, extra: 1 }, 'b')).status).toBe(400)
  expect(await tenant.call('GET', '/event-types')).toMatchObject({
    body: { event_types: [{ type: 'llm.request', version: 3, unknown_fields: 'refuse' }] },
  })
})

test('no other policy exists', async () => {
  expect(await put({ schema: LLM_SCHEMA, unknown_fields: 'keep' })).toMatchObject({
    status: 400,
    body: { errors: [{ path: 'unknown_fields' }] },
  })
})
