import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { JANUARY, NOVEMBER } from '../../support/world.ts'
import { HOUR_MS } from '../tax/shop.ts'
import { type Group, type InvoiceBody, invoiceOf, invoicesOf, openGroup } from './group.ts'

let database: TestDatabase
let groups = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

type Note = { invoice_id: string; total: string; lines: { line: number; subtotal: string; tax: string }[] }

/** 10.00, 20.50 and 3.33 with 24 % on one invoice of 41.95, which nobody has paid. */
async function owing(): Promise<{ shop: Group; invoice: InvoiceBody; pay: () => Promise<unknown> }> {
  groups += 1
  const shop = await openGroup(database, `given-${groups}`, { consolidate: true })
  const { collect } = shop.deps
  shop.deps.collect = async () => true
  const runId = await shop.run()
  shop.deps.collect = collect
  return { shop, invoice: await invoiceOf(shop), pay: () => collect(shop.tenantId, runId, async () => undefined) }
}

const notesOf = async (shop: Group, id: string) =>
  (await shop.call('GET', `/invoices/${id}/credit-notes`)).body.credit_notes as Note[]
const verified = async (shop: Group, id: string) => (await shop.call('GET', `/invoices/${id}/verification`)).body

describe('credit notes on an invoice that gathers others', () => {
  test('take back one line of a part, with its tax, and never more than is left of line and invoice', async () => {
    const { shop, invoice } = await owing()
    const url = `/invoices/${invoice.id}/credit-notes`
    const note = await shop.keyed(url, 'one', { reason: 'Sorry', lines: [{ line: 2 }] })
    expect(note).toMatchObject({
      status: 201,
      body: { total: '4.13', lines: [{ line: 2, subtotal: '3.33', tax: '0.80' }] },
    })
    expect(await shop.keyed(url, 'one', { reason: 'Sorry', lines: [{ line: 2 }] })).toEqual({ ...note, status: 200 })
    expect((await shop.keyed(url, 'two', { reason: 'Sorry', lines: [{ line: 2 }] })).status).toBe(400)
    expect((await shop.keyed(url, 'three', { reason: 'Sorry', lines: [{ line: 3 }] })).status).toBe(400)
    expect(await invoiceOf(shop)).toMatchObject({ credited: '4.13', amount_remaining: '37.82', state: 'finalised' })
    const rest = await shop.keyed(url, 'rest', { reason: 'All of it' })
    expect(rest).toMatchObject({ status: 201, body: { total: '37.82' } })
    expect((rest.body as Note).lines).toEqual([
      { line: 0, subtotal: '10.00', tax: '2.40' },
      { line: 1, subtotal: '20.50', tax: '4.92' },
    ])
    expect(await invoiceOf(shop)).toMatchObject({ credited: '41.95', amount_remaining: '0.00', state: 'paid' })
    expect((await shop.keyed(url, 'more', { reason: 'More' })).status).toBe(400)
  })

  test('are made for usage that is less than was billed: of the line that billed it', async () => {
    const { shop, invoice, pay } = await owing()
    await pay()
    shop.use('north', 'context_tokens', '-50', NOVEMBER, JANUARY + 3 * HOUR_MS)
    shop.clock.nowMs = JANUARY + 24 * HOUR_MS
    await shop.run()
    const notes = await notesOf(shop, invoice.id)
    expect(notes.map(({ total, lines }) => [total, lines])).toEqual([
      ['0.62', [{ line: 1, subtotal: '0.50', tax: '0.12' }]],
    ])
    expect(await invoiceOf(shop)).toMatchObject({ credited: '0.62' })
    const { body } = await shop.call('GET', '/customers/acme/balance')
    expect(body.balances).toEqual([{ currency: 'USD', balance: '0.62' }])
  })
})

describe('usage that comes late', () => {
  test('is billed to the parent with what else its next run issues, as a line of the child', async () => {
    const { shop, pay } = await owing()
    await pay()
    shop.use('north', 'context_tokens', '100', NOVEMBER, JANUARY + 3 * HOUR_MS)
    shop.use('south', 'context_tokens', '200', NOVEMBER, JANUARY + 3 * HOUR_MS)
    shop.clock.nowMs = JANUARY + 24 * HOUR_MS
    await shop.run()
    const [, late] = await invoicesOf(shop)
    expect(late).toMatchObject({ number: 'HELLAS-000002', total: '3.72', tax: '0.72', state: 'paid' })
    expect(late?.parts.map((part) => [part.customer.external_key, part.total])).toEqual([
      ['north', '1.24'],
      ['south', '2.48'],
    ])
    expect(await verified(shop, late?.id ?? '')).toMatchObject({ equal: true, difference: null })
  })
})

describe('void and reissue', () => {
  test('are of the whole: its parts are billed again, and gathered into the invoice that follows', async () => {
    const { shop, invoice } = await owing()
    const answer = await shop.keyed(`/invoices/${invoice.id}/reissue`, 'k', { reason: 'Wrong address' })
    expect(answer).toMatchObject({ status: 200, body: { state: 'void', number: 'HELLAS-000001' } })
    expect(await shop.keyed(`/invoices/${invoice.id}/reissue`, 'k', { reason: 'Wrong address' })).toEqual(answer)
    shop.use('south', 'context_tokens', '100', NOVEMBER, JANUARY + 3 * HOUR_MS)
    shop.clock.nowMs = JANUARY + 24 * HOUR_MS
    await shop.run()
    const [before, after] = await invoicesOf(shop)
    expect(before).toMatchObject({ state: 'void', total: '41.95' })
    expect(after).toMatchObject({ number: 'HELLAS-000002', state: 'paid', subtotal: '34.83', total: '43.19' })
    expect(after?.parts).toHaveLength(3)
    for (const { id } of [before, after].flatMap((one) => one ?? [])) {
      expect(await verified(shop, id)).toMatchObject({ equal: true, difference: null })
    }
  })

  test('of what credit paid give the credit back, and bill nothing again where it is only void', async () => {
    groups += 1
    const shop = await openGroup(database, `given-${groups}`, { consolidate: true })
    const grant = { external_key: 'g', amount: '50.00' }
    expect((await shop.call('POST', '/customers/acme/credits', grant)).status).toBe(201)
    await shop.run()
    const { id } = await invoiceOf(shop)
    expect(await invoiceOf(shop)).toMatchObject({ state: 'paid', credit: '41.95', amount_due: '0.00' })
    expect((await shop.keyed(`/invoices/${id}/void`, 'k', { reason: 'Wrong' })).status).toBe(200)
    const { body } = await shop.call('GET', '/customers/acme/credits')
    expect(JSON.stringify(body)).toContain('"remaining":"50.00"')
    shop.clock.nowMs = JANUARY + 24 * HOUR_MS
    await shop.run()
    expect((await invoicesOf(shop)).map(({ state }) => state)).toEqual(['void'])
  })

  test('are refused once it is paid: it is given back by credit notes', async () => {
    const { shop, invoice, pay } = await owing()
    await pay()
    const answer = await shop.keyed(`/invoices/${invoice.id}/void`, 'k', { reason: 'Wrong' })
    expect(answer).toMatchObject({ status: 409, body: { detail: expect.stringContaining('credit note') } })
  })
})

describe('explain and verify', () => {
  test('map the lines of the whole to those of its parts, and find what is not as it should be', async () => {
    const { shop, invoice } = await owing()
    expect(await verified(shop, invoice.number)).toMatchObject({ equal: true, checked: { lines: 3, events: 3 } })
    const explained = await shop.call('GET', `/invoices/${invoice.id}/lines/1/explain`)
    expect(explained).toMatchObject({
      status: 200,
      body: { invoice_id: invoice.id, number: invoice.number, line: 1, amount: '20.50', equal: true },
    })
    const counted = await shop.call('GET', `/invoices/${invoice.id}/lines/2/events`)
    expect(counted.body.events).toMatchObject([{ subject: 'south', quantity: '333' }])
    expect((await shop.call('GET', `/invoices/${invoice.id}/lines/3/explain`)).status).toBe(404)
    const [event] = shop.events.filter(({ subject }) => subject === 'south')
    if (event !== undefined) shop.events.splice(shop.events.indexOf(event), 1)
    expect(await verified(shop, invoice.id)).toMatchObject({ equal: false, difference: { where: 'events', line: 2 } })
  })
})
