import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { consolidated } from '../../../../invoicer/billing/consolidated/consolidate.ts'
import type { WaitingPart } from '../../../../invoicer/billing/consolidated/gather.postgres.ts'
import type { LineToPay } from '../../../../invoicer/billing/run/issue-chunk.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { NOVEMBER } from '../../support/world.ts'
import { inGreece, openShop } from '../tax/shop.ts'
import { invoiceOf, invoicesOf, openGroup, place } from './group.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const minorOf = (text: string) => BigInt(text.replace('.', ''))

describe('the total of one invoice is the sum of the single ones', () => {
  const anyPart = fc.record({
    subtotalMinor: fc.bigInt(-1_000_000n, 1_000_000n),
    taxMinor: fc.bigInt(-100_000n, 100_000n),
    startMs: fc.integer({ min: 0, max: 1_000 }),
    lowers: fc.array(fc.option(fc.nat(3), { nil: undefined }), { maxLength: 6 }),
  })

  test('for any parts: sums, span, and each discount lowers the line that it lowered', () => {
    fc.assert(
      fc.property(fc.array(anyPart, { minLength: 1, maxLength: 8 }), (wanted) => {
        const linesOf = new Map<string, LineToPay[]>()
        const parts = wanted.map(({ subtotalMinor, taxMinor, startMs, lowers }, index): WaitingPart => {
          const invoiceId = `part-${index}`
          linesOf.set(
            invoiceId,
            lowers.map((line, place) => lineOf(`${index}/${place}`, line)),
          )
          return {
            ...{ invoiceId, subscriptionId: `s-${index}`, payerId: 'p', payerKey: 'p', currency: 'USD' },
            ...{ legalEntityId: null, lineCount: lowers.length, periodStartMs: startMs, periodEndMs: startMs + 1 },
            ...{ subtotalMinor, taxMinor, totalMinor: subtotalMinor + taxMinor },
          }
        })
        const [first, ...others] = parts
        if (first === undefined) return
        const invoice = consolidated('id', [first, ...others], linesOf)
        const sum = (of: (part: WaitingPart) => bigint) => parts.reduce((all, part) => all + of(part), 0n)
        expect(invoice.totalMinor).toBe(sum(({ totalMinor }) => totalMinor))
        expect(invoice.subtotalMinor + invoice.taxMinor).toBe(invoice.totalMinor)
        expect(invoice.periodStartMs).toBe(Math.min(...parts.map(({ periodStartMs }) => periodStartMs)))
        expect(invoice.lines.map(({ chargeKey }) => chargeKey)).toEqual(
          wanted.flatMap(({ lowers }, index) => lowers.map((_, place) => `${index}/${place}`)),
        )
        for (const { chargeKey, discount } of invoice.lines) {
          if (discount === undefined) continue
          const [index] = chargeKey.split('/')
          const before = wanted.slice(0, Number(index)).reduce((all, { lowers }) => all + lowers.length, 0)
          expect(discount.lowers - before).toBe(Number(discount.id))
        }
      }),
    )
  })

  function lineOf(chargeKey: string, lowers: number | undefined): LineToPay {
    const line = { chargeKey, meter: null, amountMinor: 1n, breakdown: [] }
    return lowers === undefined ? line : { ...line, discount: { id: String(lowers), lowers } }
  }

  test('through a run, with tax: as much as without consolidating, on one invoice', async () => {
    const single = await openGroup(database, 'sum-of-single')
    const one = await openGroup(database, 'sum-of-one', { consolidate: true })
    await single.run()
    await one.run()
    const totals = (await invoicesOf(single)).map(({ total }) => minorOf(total))
    expect(totals).toHaveLength(3)
    expect(minorOf((await invoiceOf(one)).total)).toBe(totals.reduce((sum, total) => sum + total, 0n))
  })
})

describe('one invoice for each legal entity and payer', () => {
  test('has its own number series, and who does not consolidate has invoices as before', async () => {
    const shop = await openShop(database, 'two-sellers')
    const entity = { name: 'Deutschland', country: 'DE', tax_registrations: [{ country: 'DE', number: 'DE123456789' }] }
    expect((await shop.call('POST', '/legal-entities', { key: 'deutschland', ...entity })).status).toBe(201)
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      await shop.subscribe(name)
      shop.use(name, 'context_tokens', '100', NOVEMBER)
      await place(shop, name, inGreece)
    }
    await place(shop, 'a', { consolidate: true })
    await place(shop, 'b', { parent: 'a', pays: 'parent' })
    await place(shop, 'c', { consolidate: true, legal_entity: 'deutschland' })
    await place(shop, 'd', { parent: 'c', pays: 'parent' })
    await shop.run()
    const invoices = await invoicesOf(shop)
    expect(
      invoices.map(({ number, customer, parts, total }) => [number, customer.external_key, parts.length, total]).sort(),
    ).toEqual([
      ['DEUTSCHLAND-000001', 'c', 2, expect.any(String)],
      ['HELLAS-000001', 'e', 0, '1.24'],
      ['HELLAS-000002', 'a', 2, '2.48'],
    ])
  })
})

describe('amounts of the whole', () => {
  test('less than nothing goes to the balance of the payer, which pays its next invoice', async () => {
    const shop = await openGroup(database, 'negative-whole', { consolidate: true })
    const item = { external_key: 'refund', customer: 'north', description: 'Refund', amount: '-100.00' }
    expect((await shop.call('POST', '/invoice-items', item)).status).toBe(201)
    await shop.run()
    // 33.83 − 100.00 with 24 %: −66.17 − 15.88.
    const invoice = await invoiceOf(shop)
    expect(invoice).toMatchObject({
      subtotal: '-66.17',
      total: '-82.05',
      balance: '-82.05',
      amount_due: '0.00',
      state: 'paid',
    })
    const { body } = await shop.call('GET', '/customers/acme/balance')
    expect(body.balances).toEqual([{ currency: 'USD', balance: '82.05' }])
  })

  test('what is too little to pay is carried forward as a whole, not part by part', async () => {
    const shop = await openGroup(database, 'carried-whole', { consolidate: true })
    const settings = { zero_invoices: 'issue', least_due: { USD: '20.00' } }
    expect((await shop.put('/invoice-settings', settings)).status).toBe(200)
    const memo = 'For all of us'
    expect((await shop.put('/customers/acme/invoice-texts', { memo })).status).toBe(200)
    await shop.run()
    expect(await invoiceOf(shop)).toMatchObject({ total: '41.95', amount_due: '41.95', carried_out: '0.00', memo })
  })

  test('credit for some charges pays the lines of all parts that it may pay, and no other', async () => {
    const shop = await openGroup(database, 'scoped-whole', { consolidate: true })
    const price = { model: 'flat', amount: '5.00' } as const
    await shop.plan({ key: 'fee', charges: [{ key: 'fee', name: 'Fee', meter: null, price }] })
    await shop.subscribe('fee', { plan: 'fee' })
    await place(shop, 'fee', { parent: 'acme', pays: 'parent' })
    const grant = { external_key: 'g', amount: '100.00', scope: { charges: ['use'] } }
    expect((await shop.call('POST', '/customers/acme/credits', grant)).status).toBe(201)
    await shop.run()
    expect(await invoiceOf(shop)).toMatchObject({ total: '48.15', credit: '41.95', amount_due: '6.20' })
  })
})
