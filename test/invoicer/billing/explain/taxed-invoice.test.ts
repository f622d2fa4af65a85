import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { buildDoors } from '../../support/doors.ts'
import { createWorld, DECEMBER, NOVEMBER } from '../../support/world.ts'

const HOUR_MS = 3_600_000
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const fee = (key: string, amount: string) => {
  return { key, name: key, meter: null, price: { model: 'flat' as const, amount } }
}

/** Three fees of a Greek seller, and an item: nothing is counted, so that no event is needed. */
test.each([
  ['each rounded, on top', { rounding: 'per_line', amounts: 'exclusive' }, '0.09 × 24 ÷ 100, rounded', ''],
  [
    'all of them rounded together, inside',
    { rounding: 'per_invoice', amounts: 'inclusive' },
    '0.09 × 24 ÷ (100 + 24), rounded',
    ' over the invoice, its part by the largest remainder',
  ],
])(
  'taxes %s are explained and verified; two that are wrong in sum right are found',
  async (name, tax, rule, together) => {
    const world = await createWorld(database, `taxed-${tax.rounding.replace('_', '-')}`)
    const doors = buildDoors(database, { usage: world.deps.usage, now: world.now, newId: world.newId })
    const call = (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object) =>
      doors.call(world.tenantId, method, url, body)
    const seller = { key: 'hellas', name, country: 'GR', tax_registrations: [{ country: 'GR', number: 'EL123456789' }] }
    expect((await call('POST', '/legal-entities', { ...seller, tax })).status).toBe(201)
    await world.plan({ charges: [fee('a', '0.09'), fee('b', '0.09'), fee('c', '0.11')] })
    await world.subscribe('acme', { startMs: NOVEMBER, endMs: DECEMBER })
    await call('PATCH', '/customers/acme', { billing_address: { country: 'GR' } })
    const item = { external_key: 'extra', customer: 'acme', description: 'Extra', quantity: '3', unit_amount: '0.03' }
    expect((await call('POST', '/invoice-items', item)).status).toBe(201)
    await world.run(DECEMBER + 2 * HOUR_MS)
    const { body } = await call('GET', '/invoices')
    const [invoice] = body.invoices as { number: string; lines: { amount: string; tax: { amount: string } }[] }[]
    const verify = async () => (await call('GET', `/invoices/${invoice!.number}/verification`)).body
    expect(await verify()).toMatchObject({ equal: true, difference: null, checked: { lines: 4, events: 0, seals: 0 } })
    const explain = async (line: number) =>
      (await call('GET', `/invoices/${invoice!.number}/lines/${line}/explain`)).body
    expect(await explain(0)).toMatchObject({ tax: { rule, output: invoice!.lines[0]!.tax.amount }, seal: null })
    // By itself its tax would be another cent.
    expect(await explain(3)).toMatchObject({
      tax: { rule: `${rule}${together}`, output: invoice!.lines[3]!.tax.amount },
    })
    expect(await explain(3)).toMatchObject({ plan: null, price: null, amount: '0.09', tree: { output: '0.09' } })

    const client = new pg.Client({ connectionString: database.ownerUrl })
    await client.connect()
    try {
      await client.query(
        `UPDATE invoice_lines SET tax_minor = tax_minor + CASE line_index WHEN 0 THEN 1 ELSE -1 END
       WHERE tenant_id = $1 AND line_index IN (0, 2)`,
        [world.tenantId],
      )
    } finally {
      await client.end()
    }
    expect(await verify()).toMatchObject({ equal: false, difference: { where: 'tax', line: 0, what: 'tax' } })
    await doors.invoicer.stop()
    await doors.app.close()
  },
)
