import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, NOVEMBER, type World } from '../../support/world.ts'

let database: TestDatabase
let world: World
let other: World
beforeAll(async () => {
  database = await createTestDatabase()
  const billed = async (slug: string) => {
    const made = await createWorld(database, slug)
    await made.plan()
    await made.subscribe('a', { endMs: DECEMBER })
    made.use('a', 'context_tokens', '1000000', NOVEMBER)
    await made.run()
    return made
  }
  world = await billed('references')
  other = await billed('references-of-others')
})
afterAll(() => database.drop())

/** A row of the world's first invoice, with other members. */
function insertLike(table: 'invoices' | 'invoice_lines' | 'billed_usage', other: Record<string, unknown>) {
  return world.transact(world.tenantId, (tx) =>
    tx.query(`INSERT INTO ${table} SELECT (jsonb_populate_record(t, $1)).* FROM ${table} t LIMIT 1`, [
      JSON.stringify(other),
    ]),
  )
}

const idOf = async (of: World, column: string) => {
  const { rows } = await of.transact(of.tenantId, (tx) => tx.query(`SELECT ${column} AS id FROM invoices LIMIT 1`))
  return (rows[0] as { id: string }).id
}

describe('what an invoice refers to is there, though it is looked up once a statement (SUB-2)', () => {
  const REFERENCES = ['billing_run_id', 'subscription_id', 'customer_id', 'plan_id', 'legal_entity_id']
  const another = () => ({ id: world.newId(), number: 1_000_000, off_cycle: true })

  test.each(REFERENCES)('an unknown %s is refused', async (column) => {
    const refused = insertLike('invoices', { ...another(), [column]: world.newId() })
    await expect(refused).rejects.toMatchObject({ code: '23503', constraint: 'invoices_references' })
  })

  test.each(REFERENCES.slice(0, -1))('the %s of another tenant is refused', async (column) => {
    const refused = insertLike('invoices', { ...another(), [column]: await idOf(other, column) })
    await expect(refused).rejects.toMatchObject({ code: '23503', constraint: 'invoices_references' })
  })

  test('a row like one that is there is taken', async () => {
    await expect(insertLike('invoices', another())).resolves.toMatchObject({ rowCount: 1 })
  })
})

describe('the invoice of a line is there, though it comes behind the line', () => {
  const refused = { code: '23503', constraint: 'invoice_lines_references' }

  test('an unknown invoice is refused at the commit, and one of another tenant', async () => {
    await expect(insertLike('invoice_lines', { invoice_id: world.newId() })).rejects.toMatchObject(refused)
    const ofOther = { invoice_id: await idOf(other, 'id') }
    await expect(insertLike('invoice_lines', ofOther)).rejects.toMatchObject(refused)
  })

  test('a line of an invoice that is there is taken, and nothing waits for it any more', async () => {
    await expect(insertLike('invoice_lines', { line_index: 77 })).resolves.toMatchObject({ rowCount: 1 })
    const waiting = await world.transact(world.tenantId, (tx) => tx.query('SELECT FROM invoices_awaited'))
    expect(waiting.rowCount).toBe(0)
  })
})

describe('what billed usage refers to is there', () => {
  const again = { period_start: new Date(0), line_index: 0 }

  test.each([
    ['line', { ...again, line_index: 99 }],
    ['invoice', () => ({ ...again, invoice_id: world.newId() })],
    ['seal', () => ({ ...again, seal_id: world.newId() })],
  ])('an unknown %s is refused', async (_, members) => {
    const refused = insertLike('billed_usage', typeof members === 'function' ? members() : members)
    await expect(refused).rejects.toMatchObject({ code: '23503', constraint: 'billed_usage_references' })
  })

  test('a row like one that is there is taken', async () => {
    await expect(insertLike('billed_usage', again)).resolves.toMatchObject({ rowCount: 1 })
  })
})
