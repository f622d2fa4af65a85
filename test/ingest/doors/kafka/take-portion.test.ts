import { pino } from 'pino'
import { Counter, Registry } from 'prom-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createAdmission } from '../../../../ingest/accept/admission.ts'
import { createConfigCache } from '../../../../ingest/accept/config.ts'
import { edgeMeterOf } from '../../../../ingest/accept/meter-value.ts'
import { createUsageRecorder } from '../../../../ingest/accept/record.ts'
import { createBatcher, DEFAULT_BATCHER_LIMITS } from '../../../../ingest/append/batcher.ts'
import type { AvroDecoder } from '../../../../ingest/doors/kafka/avro-decoder.ts'
import type { InputRecord, TenantInput } from '../../../../ingest/doors/kafka/input.ts'
import { storeInput } from '../../../../ingest/doors/kafka/inputs.postgres.ts'
import type { Portion } from '../../../../ingest/doors/kafka/portions.ts'
import { readableRecords } from '../../../../ingest/doors/kafka/read-records.ts'
import { listRejections } from '../../../../ingest/doors/kafka/rejections.postgres.ts'
import { type TakeDeps, takePortion } from '../../../../ingest/doors/kafka/take-portion.ts'
import { putEventType } from '../../../../ingest/event-types/put-event-type.ts'
import { decodeBatch } from '../../../../schemas/event/usage-batch.avro.ts'
import { withTenant } from '../../../../schemas/postgres/tenant.postgres.ts'
import { type EmbeddedLog, openEmbeddedLog } from '../../../support/embedded-stores.ts'
import { cloudEvent, LLM_SCHEMA } from '../../../support/metering.ts'
import { quotaLimit } from '../../../support/quota-limit.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'

const NOW = Date.UTC(2026, 10, 20, 12)
const PLACE = { topicId: '5b2a3c1d-6f1e-4c58-9a51-3f6f2f0f9b11', partition: 2 }

let database: TestDatabase
let log: EmbeddedLog
let deps: TakeDeps
let input: TenantInput
let metrics: Registry
let logAway = false
let made = 0

beforeAll(async () => {
  const now = () => NOW
  database = await createTestDatabase()
  log = await openEmbeddedLog(now)
})
afterAll(async () => {
  await log.close()
  await database.drop()
})
beforeEach(async () => {
  logAway = false
  const now = () => NOW
  const { pool } = database
  const slug = `t-${made++}`
  const tenantId = await database.createTenant(slug)
  input = {
    tenantId,
    tenantSlug: slug,
    topic: `in.${slug}.a`,
    format: 'json',
    schemas: [],
    backfill: false,
    paused: false,
  }
  await putEventType({ pool, now }, tenantId, 'llm.request', LLM_SCHEMA)
  await withTenant(pool, tenantId, (tx) => storeInput(tx, input, new Date(NOW)))
  const append: typeof log.writer.append = async (records) => {
    if (logAway) throw new Error('no log')
    return log.writer.append(records)
  }
  const batcher = createBatcher({ ...log.writer, append }, DEFAULT_BATCHER_LIMITS)
  metrics = new Registry()
  const counter = <L extends string>(name: string, labelNames: L[]) =>
    new Counter({ name, help: name, labelNames, registers: [metrics] })
  deps = {
    pool,
    accept: {
      config: createConfigCache({ pool, now, defaultPlan: 'basic' }),
      batcher,
      partitions: log.writer.partitions,
      quota: log.quota,
      loadCounters: async () => undefined,
      enforceQuota: true,
      now,
    },
    recorder: createUsageRecorder({
      logger: pino({ level: 'silent' }),
      usageTotal: counter('usage', ['tenant', 'outcome']),
      quotaExceededTotal: counter('exceeded', ['tenant']),
    }),
    admission: createAdmission(1e9),
    records: counter('records', ['tenant', 'outcome']),
    now,
  }
})

const recordsOf = (...values: unknown[]): InputRecord[] =>
  values.map((value, offset) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    return { offset, value: Buffer.from(text), headers: new Map() }
  })

async function take(records: InputRecord[], more: Partial<Portion> & { listed?: boolean } = {}) {
  const { listed = false, ...rest } = more
  const portion = { first: 0, next: records.length, records, faults: [], ...rest }
  const readable = await readableRecords(input, PLACE, records, undefined)
  return takePortion(deps, input, PLACE, { portion, records: readable, listed })
}

const page = { limit: 1_000, after: undefined }
const listed = () => withTenant(database.pool, input.tenantId, (tx) => listRejections(tx, input.topic, page))
const codes = async () => (await listed()).map(({ offset, eventIndex, code }) => `${offset}.${eventIndex} ${code}`)

async function logged(): Promise<string[]> {
  const rows = await log.reader.read([0, 0, 0], 1e9)
  const events = rows.flatMap(({ batch }) => decodeBatch(batch)).filter((event) => event.tenant === input.tenantId)
  return events.map(({ id }) => id).sort()
}

describe('a portion of a Kafka input', () => {
  test('is taken as at any door: whose it is says the topic, not the record', async () => {
    const other = { ...cloudEvent('b'), tenant: 999, tenantid: 'x' }
    await take(recordsOf(cloudEvent('a'), [other, cloudEvent('c')]))
    expect(await logged()).toEqual(['a', 'b', 'c'])
    expect(await codes()).toEqual([])
    expect(await metrics.metrics()).toContain(`usage{tenant="${input.tenantSlug}",outcome="accepted"} 3`)
  })

  test('invariant 4: what is refused is listed, event by event, with the place and the reason', async () => {
    const wrong = cloudEvent('wrong', { tokens: 'x' })
    await take(recordsOf('{', [cloudEvent('a'), wrong], cloudEvent('', {})))
    expect(await logged()).toEqual(['a'])
    const [record, event, last] = await listed()
    expect(record).toMatchObject({
      offset: 0,
      eventIndex: -1,
      code: 'invalid_json',
      eventId: null,
      events: 1,
      valueBytes: 1,
    })
    expect(event).toMatchObject({
      offset: 1,
      eventIndex: 1,
      code: 'invalid_value',
      path: 'data.tokens',
      eventId: 'wrong',
    })
    expect(JSON.parse(event!.excerpt.toString())).toEqual(wrong)
    expect(last).toMatchObject({ offset: 2, eventIndex: 0, path: 'id' })
  })

  test('what the quota refuses is listed too: nobody is told otherwise', async () => {
    const limit = quotaLimit({ meter: 'tokens', limitMicro: 5_000_000n })
    const meter = {
      slug: 'tokens',
      eventType: 'llm.request',
      aggregation: 'sum',
      value: 'tokens',
      filter: null,
    } as const
    const plain = await deps.accept.config.get(input.tenantId)
    const config = {
      ...plain,
      metersOfType: new Map([['llm.request', [edgeMeterOf({ ...meter, fromMs: 0, untilMs: null })]]]),
      limitsOf: () => [limit],
    }
    const loadCounters: TakeDeps['accept']['loadCounters'] = async (counters) => {
      for (const counter of counters) await log.quota.load([{ counter, usedMicro: 0n }], NOW)
    }
    const cache = { ...deps.accept.config, get: async () => config, atLeast: async () => config }
    deps = { ...deps, accept: { ...deps.accept, config: cache, loadCounters } }
    await take(
      recordsOf(cloudEvent('a', { tokens: 3 }), cloudEvent('b', { tokens: 3 }), cloudEvent('c', { tokens: 2 })),
    )
    expect(await logged()).toEqual(['a', 'c'])
    expect(await listed()).toMatchObject([{ offset: 1, eventIndex: 0, code: 'quota_exceeded', eventId: 'b' }])
  })

  test('read again after a crash it lists nothing twice', async () => {
    const records = recordsOf('{', cloudEvent('a', {}))
    await take(records)
    await take(records, { listed: true })
    expect(await codes()).toEqual(['0.-1 invalid_json', '1.0 missing_field'])
  })

  test('read again after the schema was mended, what is taken leaves the list', async () => {
    const records = recordsOf(cloudEvent('a', { tokens: 1 }, { type: 'later' }), '{')
    await take(records)
    expect(await codes()).toEqual(['0.0 unknown_type', '1.-1 invalid_json'])
    await putEventType({ pool: database.pool, now: () => NOW }, input.tenantId, 'later', LLM_SCHEMA)
    deps.accept.config.invalidate()
    await take(records, { listed: true })
    expect(await codes()).toEqual(['1.-1 invalid_json'])
    expect(await logged()).toEqual(['a'])
  })

  test('while the log is away it is not taken, and nothing is listed or counted: it comes again', async () => {
    logAway = true
    const records = recordsOf(cloudEvent('a'), '{')
    await expect(take(records)).rejects.toThrow('they are sent again')
    expect(await codes()).toEqual([])
    expect(await metrics.metrics()).not.toContain('outcome="')
    logAway = false
    await take(records)
    expect(await logged()).toEqual(['a'])
    expect(await codes()).toEqual(['1.-1 invalid_json'])
  })

  test('with thousands of refused events takes a bounded number of rows, and counts all', async () => {
    const many = Array.from({ length: 3_000 }, (_, n) => cloudEvent(`e-${n}`, {}))
    await take(recordsOf(many, cloudEvent('next', {})))
    const rows = await listed()
    expect(rows).toHaveLength(101)
    expect(rows.reduce((sum, { events }) => sum + events, 0)).toBe(3_001)
    expect(rows.at(-1)).toMatchObject({ offset: 1, eventId: 'next', events: 1 })
  })

  test('whatever a record holds, it can be listed', async () => {
    const hostile = [
      '\u0000',
      '{"id":"\\u0000"}',
      `{"${'k'.repeat(9_000)}`,
      JSON.stringify(cloudEvent('a', { tokens: 1, '\u0000\uD800': 1 })),
    ]
    await take(recordsOf(...hostile))
    const rows = await listed()
    expect(rows.map(({ offset }) => offset)).toEqual([0, 1, 2, 3])
    for (const { excerpt } of rows) expect(excerpt.length).toBeLessThanOrEqual(2_048)
  })

  test('old events need the input’s leave', async () => {
    const old = cloudEvent('old', { tokens: 1 }, { time: '2026-01-01T00:00:00Z' })
    await take(recordsOf(old))
    expect(await codes()).toEqual(['0.0 event_too_old'])
    input = { ...input, backfill: true }
    await take(recordsOf(old), { listed: true })
    expect(await codes()).toEqual([])
    expect(await logged()).toEqual(['old'])
  })

  test('of Avro that is much JSON is cut, and its events are read when there is room for them', async () => {
    const json = JSON.stringify({ id: 'a', subject: 's', data: { tokens: 1, text: 'x'.repeat(290_000) } })
    const decoder: AvroDecoder = {
      decode: async (records) => records.slice(0, 14).map(() => ({ json })),
      check: async () => [],
      stop: async () => undefined,
    }
    const schema = { id: 7, schema: {}, type: 'llm.request', fields: { id: 'id', subject: 's' } }
    const framed = (offset: number) => ({ offset, value: Buffer.from('0000000007', 'hex'), headers: new Map() })
    const records = [
      { ...framed(0), value: Buffer.from('no') },
      ...Array.from({ length: 250 }, (_, n) => framed(n + 1)),
    ]
    const readable = await readableRecords({ ...input, format: 'avro', schemas: [schema] }, PLACE, records, decoder)
    expect(readable.map(({ offset }) => offset)).toEqual(Array.from({ length: 15 }, (_, n) => n))
    const held: number[] = []
    const hold: TakeDeps['admission']['hold'] = (bytes, work) => {
      held.push(bytes)
      return work()
    }
    const portion = { first: 0, next: 15, records: records.slice(0, 15), faults: [] }
    deps = { ...deps, admission: { hold } }
    await takePortion(deps, input, PLACE, { portion, records: readable, listed: false })
    expect(held).toEqual([14 * json.length])
    expect((await listed()).map(({ code }) => code)).toContain('not_framed')
  })

  test('pages of the list follow each other, and another tenant sees none of it (invariant 7)', async () => {
    await take(recordsOf('{', '{', '{', '{', '{'))
    const pages: number[][] = []
    let after: Parameters<typeof listRejections>[2]['after']
    for (;;) {
      const rows = await withTenant(database.pool, input.tenantId, (tx) =>
        listRejections(tx, input.topic, { limit: 2, after }),
      )
      if (rows.length === 0) break
      pages.push(rows.map(({ offset }) => offset))
      const { topicId, partition, offset, eventIndex } = rows.at(-1)!
      after = [topicId, partition, offset, eventIndex]
    }
    expect(pages).toEqual([[0, 1], [2, 3], [4]])
    const other = await database.createTenant(`o-${made++}`)
    expect(await withTenant(database.pool, other, (tx) => listRejections(tx, input.topic, page))).toEqual([])
  })
})
