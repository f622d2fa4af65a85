import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { TenantConfig } from '../../../ingest/accept/config.ts'
import { compileEventType } from '../../../ingest/event-types/avro-schema.ts'
import { eventOfRecord } from '../../../ingest/usage-records/usage-record.ts'
import { parseQuantity, tryQuantityFromJson } from '../../../schemas/quantity.ts'

const decimal = { type: 'bytes', logicalType: 'decimal', precision: 38, scale: 12 }
const schemaOf = (type: unknown) => ({
  type: 'record',
  name: 'Visit',
  fields: [
    { name: 'billing', type: { type: 'record', name: 'Billing', fields: [{ name: 'minutes', type }] } },
    { name: 'room', type: ['null', 'string'], default: null },
  ],
})

/** One sum of data.billing.minutes, of the given Avro type. */
function configOf(type: unknown): TenantConfig {
  const meter = { slug: 'minutes', eventType: 'visit', aggregation: 'sum' as const, valuePath: ['billing', 'minutes'] }
  return {
    types: new Map([['visit', compileEventType(schemaOf(type))]]),
    metersOfType: new Map([['visit', [meter]]]),
    limitsOf: () => [],
    grantsOf: () => ({ limits: [], features: [], plans: [] }),
    loadedAtMs: 0,
  }
}

describe('a quantity on a meter', () => {
  test('lands where the meter reads it, beside the metadata', () => {
    const record = { meter: 'minutes', quantity: 15.5, metadata: { room: 'a', billing: { code: 'x' } } }
    expect(eventOfRecord(configOf('double'), record, 0)).toEqual({
      type: 'visit',
      data: { room: 'a', billing: { code: 'x', minutes: 15.5 } },
    })
    expect(eventOfRecord(configOf('double'), { ...record, metadata: { billing: 'text' } }, 0).data).toEqual({
      billing: { minutes: 15.5 },
    })
  })

  test('is read by the meter as what was sent, whatever the schema’s type and the quantity’s form', () => {
    const types = [decimal, 'double', 'string', ['null', 'string', 'double']]
    const thousandths = fc.integer({ min: 0, max: 1e12 }).map((n) => n / 1000)
    fc.assert(
      fc.property(thousandths, fc.boolean(), fc.constantFrom(...types), (number, asText, type) => {
        const config = configOf(type)
        const { data } = eventOfRecord(config, { meter: 'minutes', quantity: asText ? String(number) : number }, 0)
        const checked = config.types.get('visit')?.validate(data)
        if (!checked?.ok) return false
        const { minutes } = checked.value.billing as { minutes: unknown }
        return tryQuantityFromJson(minutes)?.equals(parseQuantity(String(number))) ?? false
      }),
    )
  })

  /** A fault of the metadata was told as one of the quantity, in whose other form the schema has it. */
  test('has the form that the schema takes although something else is wrong', () => {
    const config = configOf(decimal)
    const record = { meter: 'minutes', quantity: 15.5, metadata: { room: 5 } }
    const { data } = eventOfRecord(config, record, 0)
    expect(data).toEqual({ room: 5, billing: { minutes: '15.5' } })
    expect(config.types.get('visit')?.validate(data)).toMatchObject({ ok: false, path: 'data.room' })
  })

  test('that the schema takes in no form stays as it was sent, for the schema to refuse', () => {
    expect(eventOfRecord(configOf('int'), { meter: 'minutes', quantity: '1.5' }, 0).data).toEqual({
      billing: { minutes: '1.5' },
    })
  })

  test('goes where the version of its time reads it', () => {
    const config = configOf('double')
    const version = (valuePath: string[], fromMs: number, untilMs: number) => ({
      ...{ slug: 'minutes', eventType: 'visit', aggregation: 'sum' as const, valuePath, times: { fromMs, untilMs } },
    })
    const versions = [version(['billing', 'minutes'], 0, 1_000), version(['total'], 1_000, Number.POSITIVE_INFINITY)]
    const versioned = { ...config, metersOfType: new Map([['visit', versions]]) }
    const dataAt = (atMs: number) => eventOfRecord(versioned, { meter: 'minutes', quantity: 2 }, atMs).data
    expect([999, 1_000].map(dataAt)).toEqual([{ billing: { minutes: 2 } }, { total: 2 }])
  })
})
