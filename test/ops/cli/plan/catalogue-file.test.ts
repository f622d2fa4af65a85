import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Catalogue, parseCatalogueFile, printCatalogueFile } from '../../../../ops/cli/plan/catalogue-file.ts'
import { differenceOfCoupon, type FileCoupon, type LiveCoupon } from '../../../../ops/cli/plan/coupon-entry.ts'
import { differenceOf, isNothing } from '../../../../ops/cli/plan/difference.ts'
import { FileError } from '../../../../ops/cli/plan/file-error.ts'
import { differenceOfProduct, type FileProduct, type LiveProduct } from '../../../../ops/cli/plan/product-entry.ts'

/** Issue 7, pricing as code: products and coupons of a file, and where plans stand. */
const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
const decimal = fc.tuple(fc.bigInt(1n, 10n ** 20n), fc.nat(999_999)).map(([whole, part]) => `${whole}.${part}1`)
const currency = fc.constantFrom('EUR', 'JPY', 'KWD', 'NOK', 'USD')
const maybe = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined })
const product: fc.Arbitrary<FileProduct> = fc
  .record({
    key: text,
    name: text,
    description: maybe(text),
    metadata: maybe(fc.dictionary(text, text, { minKeys: 1, maxKeys: 3, noNullPrototype: true })),
    prices: maybe(fc.dictionary(currency, decimal, { minKeys: 1, maxKeys: 3, noNullPrototype: true })),
    archived: maybe(fc.constant(true)),
  })
  .map(withoutHoles)
const coupon: fc.Arbitrary<FileCoupon> = fc
  .tuple(
    fc.oneof(fc.record({ percent: decimal }), fc.record({ amount: decimal, currency })),
    fc.record({
      key: text,
      name: text,
      cycles: fc.option(fc.integer({ min: 1, max: 99 })),
      charges: maybe(fc.uniqueArray(text, { minLength: 1, maxLength: 3 })),
      redeem_by: maybe(fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true }).map(iso)),
      max_redemptions: maybe(fc.integer({ min: 1, max: 99 })),
      archived: maybe(fc.constant(true)),
    }),
  )
  .map(([off, more]) => ({ ...withoutHoles(more), ...off }))
const plan = fc.record({ key: text, name: text, amount: decimal, product: maybe(text), archived: maybe(fc.boolean()) })
const catalogue = fc
  .record({
    products: fc.uniqueArray(product, { selector: ({ key }) => key, maxLength: 4 }),
    plans: fc.uniqueArray(plan, { selector: ({ key }) => key, maxLength: 4 }),
    coupons: fc.uniqueArray(coupon, { selector: ({ key }) => key, maxLength: 4 }),
  })
  .map(({ plans, ...more }): Catalogue => ({ ...more, plans: plans.map(planOf) }))

function withoutHoles<Value extends object>(value: Value): { [Name in keyof Value]: Exclude<Value[Name], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as never
}
function iso(date: Date): string {
  return date.toISOString()
}
const flat = (amount: string) => ({ model: 'flat', amount })
type AnyPlan = {
  key: string
  name: string
  amount: string
  product?: string | undefined
  archived?: boolean | undefined
}
function planOf({ key, name, amount, product: of, archived }: AnyPlan): Catalogue['plans'][number] {
  const price = flat(amount)
  return {
    key,
    content: {
      ...{ name, currency: 'USD', interval: 'month', every: 1, alignment: 'anniversary', graceSeconds: 3600 },
      ...{ prorationBasis: 'second', fees: 'in_advance' },
      charges: [{ key: 'base', name: 'Base', meter: null, price }],
    },
    entitlements: undefined,
    listing: { ...(of === undefined ? {} : { product: of }), ...(archived === true ? { archived } : {}) },
  }
}
const AT = '2024-01-01T00:00:00.000Z'
const liveProduct = (file: FileProduct): LiveProduct => ({
  ...{ key: file.key, name: file.name, description: file.description ?? null, metadata: file.metadata ?? {} },
  ...{ prices: file.prices ?? {}, archived_at: file.archived ? AT : null },
})
const liveCoupon = (file: FileCoupon): LiveCoupon => ({
  ...{ key: file.key, name: file.name, cycles: file.cycles, percent: file.percent ?? null },
  ...{ amount: file.amount ?? null, currency: file.currency ?? null, charges: file.charges ?? null },
  ...{ redeem_by: file.redeem_by ?? null, max_redemptions: file.max_redemptions ?? null },
  archived_at: file.archived ? AT : null,
})
const UNDONE = { lines: [], calls: [], refused: [] }

describe('a catalogue file', () => {
  test('is read as it was printed, and is no difference to a product that says the same', () => {
    fc.assert(
      fc.property(catalogue, (said) => {
        const read = parseCatalogueFile(printCatalogueFile(said))
        expect(read).toEqual(said)
        for (const one of read.products) expect(differenceOfProduct(one, liveProduct(one))).toMatchObject(UNDONE)
        for (const one of read.coupons) expect(differenceOfCoupon(one, liveCoupon(one))).toMatchObject(UNDONE)
        for (const one of read.plans) {
          const listing = { product: one.listing.product ?? null, archived: one.listing.archived ?? false }
          const live = {
            ...{ content: one.content, version: 1, effectiveFromMs: null },
            entitlements: new Map(),
            listing,
          }
          expect(isNothing(differenceOf(one, live, { nowMs: 0, effectiveFromMs: undefined }))).toBe(true)
        }
      }),
    )
  })

  test('applied to a product that says something else leaves no difference but what it refuses', () => {
    fc.assert(
      fc.property(product, product, (wanted, other) => {
        const before = { ...liveProduct(other), key: wanted.key }
        const { calls, isNew } = differenceOfProduct(wanted, before)
        expect(isNew).toBe(false)
        const patched = calls.reduce(patchedBy, before)
        expect(differenceOfProduct(wanted, patched)).toMatchObject(UNDONE)
      }),
    )
  })

  test('says to a product what differs and nothing else, so that what somebody changes meanwhile stays', () => {
    const before: LiveProduct = {
      ...{ key: 'pro', name: 'Pro', description: 'For teams.', archived_at: AT },
      ...{ metadata: { page: 'p', tier: '1', constructor: 'x' }, prices: { EUR: '230', USD: '250' } },
    }
    const bodyOf = (said: object) => differenceOfProduct({ key: 'pro', name: 'Pro', ...said }, before).calls[0]?.body
    expect(bodyOf({ name: 'Pro plus' })).toEqual({ name: 'Pro plus' })
    expect(bodyOf({ description: null })).toEqual({ description: null })
    expect(bodyOf({ archived: false })).toEqual({ archived: false })
    expect(bodyOf({ prices: { EUR: '230.0', USD: '275' } })).toEqual({ prices: { USD: '275' } })
    expect(bodyOf({ metadata: { page: 'p', toString: 'y' } })).toEqual({
      metadata: JSON.parse('{"toString": "y", "tier": null, "constructor": null}'),
    })
    expect(bodyOf({ metadata: before.metadata, archived: true })).toBeUndefined()
  })

  test('takes decimals of prices and coupons digit by digit, with quotes or without', () => {
    const { products, coupons } = parseCatalogueFile(`
products: [{key: p, name: P, prices: {USD: 12345678901234567890.10, EUR: "1.50"}}]
coupons:
  - {key: a, name: A, percent: 12.50, cycles: null}
  - {key: b, name: B, amount: 10.00, currency: USD, cycles: 3}
`)
    expect(products[0]!.prices).toEqual({ USD: '12345678901234567890.10', EUR: '1.50' })
    expect(coupons.map(({ percent, amount }) => percent ?? amount)).toEqual(['12.50', '10.00'])
  })

  test.each([
    ['{}', 'The file'],
    ['products: [{key: a, name: A}, {key: a, name: B}]', 'Product "a" stands here twice'],
    ['coupons: [{key: a, name: A, percent: 5}]', 'cycles'],
    [
      'coupons: [{key: a, name: A, percent: 5, cycles: 1}, {key: a, name: A, percent: 5, cycles: 1}]',
      'stands here twice',
    ],
    ['products: [{key: a, name: A, price: 5}]', 'there is no such member'],
    ['addons: []', 'there is no such member'],
  ])('says what is wrong with %s', (yaml, message) => {
    expect(() => parseCatalogueFile(yaml)).toThrow(FileError)
    expect(() => parseCatalogueFile(yaml)).toThrow(message)
  })
})

/** What the doors make of a PATCH. */
function patchedBy(live: LiveProduct, { body }: { body: object }): LiveProduct {
  const { metadata = {}, prices = {}, archived, ...more } = body as Record<string, Record<string, string | null>>
  const kept = (members: Record<string, string | null>) =>
    Object.fromEntries(Object.entries(members).filter(([, member]) => member !== null)) as Record<string, string>
  return {
    ...{ ...live, ...more },
    metadata: kept({ ...live.metadata, ...metadata }),
    prices: kept({ ...live.prices, ...prices }),
    archived_at: archived === undefined ? live.archived_at : archived ? AT : null,
  }
}

describe('the difference of a coupon', () => {
  const launch: FileCoupon = { key: 'launch', name: 'Launch', percent: '20.0', cycles: 3, charges: ['b', 'a', 'b'] }
  const live = { ...liveCoupon(launch), percent: '20', charges: ['a', 'b'] }

  test('is nothing where both say the same, however it is spelled', () => {
    expect(differenceOfCoupon(launch, live)).toMatchObject({ ...UNDONE, isNew: false })
    expect(differenceOfCoupon({ ...launch, archived: false }, live)).toMatchObject(UNDONE)
    expect(differenceOfCoupon(launch, { ...live, archived_at: AT })).toMatchObject(UNDONE)
  })

  test('is refused where it would take off something else, or be given again', () => {
    const dearer = differenceOfCoupon({ ...launch, percent: '25' }, live)
    expect(dearer).toMatchObject({ lines: ['- percent: "20"', '+ percent: "25"'], calls: [] })
    expect(dearer.refused).toEqual([expect.stringContaining('never changes')])
    const again = differenceOfCoupon({ ...launch, archived: false }, { ...live, archived_at: AT })
    expect(again.refused).toEqual([expect.stringContaining('never taken back')])
  })

  test('archives one that is there, and makes and archives one that is not', () => {
    const archived = { ...launch, archived: true }
    const archive = { method: 'POST', path: '/coupons/launch/archive' }
    expect(differenceOfCoupon(archived, live).calls).toEqual([expect.objectContaining(archive)])
    expect(differenceOfCoupon(archived, undefined).calls).toMatchObject([{ path: '/coupons' }, archive])
  })
})
