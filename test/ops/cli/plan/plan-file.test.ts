import { describe, expect, test } from 'vitest'
import { parseCatalogueFile, printCatalogueFile } from '../../../../ops/cli/plan/catalogue-file.ts'
import { FileError } from '../../../../ops/cli/plan/file-error.ts'

/** Issue 7, pricing as code: a catalogue as YAML. */
const plan = (more = '', amount = '"20.00"') => `
plans:
  - key: basic
    name: Basic
    currency: USD
    interval: month
${more}    charges:
      - key: base
        name: Base
        price: {model: flat, amount: ${amount}}
`
const amountOf = (yaml: string) =>
  parseCatalogueFile(yaml).plans[0]!.content.charges[0]!.price as { model: string; amount?: string }

describe('a file of plans', () => {
  test('says what it must, and the rest is as the product has it', () => {
    expect(parseCatalogueFile(plan()).plans).toEqual([
      {
        key: 'basic',
        content: {
          ...{ name: 'Basic', currency: 'USD', interval: 'month', every: 1, alignment: 'anniversary' },
          ...{ graceSeconds: 3600, prorationBasis: 'second', fees: 'in_advance' },
          charges: [{ key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount: '20.00' } }],
        },
        entitlements: undefined,
        listing: {},
        feesLeftOut: true,
      },
    ])
  })

  test.each(['0.000003', '20.00', '12345678901234567890.123456789012'])(
    'the decimal %s without quotes is taken digit by digit',
    (amount) => {
      expect(amountOf(plan('', amount)).amount).toBe(amount)
    },
  )

  test('decimals are taken so in prices and limits of meters, whatever else has these names', () => {
    const {
      plans: [read],
    } = parseCatalogueFile(
      plan(`    entitlements:
      limit: {type: static, value: {limit: 5, price: 1.50, list: [&five 5]}}
      price: {type: metered, meter: price, limit: 1500.50, window: month}
      charges: {type: static, value: 2.50}
      again: {type: metered, meter: price, limit: *five, window: month}
`),
    )
    expect(Object.fromEntries(read!.entitlements!)).toEqual({
      limit: { type: 'static', value: { limit: 5, price: 1.5, list: [5] } },
      price: { type: 'metered', meter: 'price', limit: '1500.50', window: 'month' },
      charges: { type: 'static', value: 2.5 },
      again: { type: 'metered', meter: 'price', limit: '5', window: 'month' },
    })
    const graduated = plan().replace(/price: .*/, 'price: {model: volume, tiers: [{up_to: null, unit_amount: 1.50}]}')
    expect(amountOf(graduated.replace('key: base', 'key: base\n        meter: m'))).toMatchObject({
      tiers: [{ unit_amount: '1.50' }],
    })
  })

  test('is printed as it was read, with everything it may say', () => {
    const text = printCatalogueFile(
      parseCatalogueFile(
        plan(`    every: 2
    alignment: calendar
    proration_basis: day
    grace_seconds: 0
    entitlements:
      seats: {type: static, value: {most: 5}}
      minutes: {type: metered, meter: minutes, limit: 1500.50, window: month}
`),
      ),
    )
    expect(text).toContain('limit: "1500.50"')
    expect(text.indexOf('minutes:')).toBeLessThan(text.indexOf('seats:'))
    expect(printCatalogueFile(parseCatalogueFile(text))).toBe(text)
  })

  test.each<[string, string, RegExp]>([
    ['what is no YAML', 'plans: [', /no YAML/],
    ['a member that is named twice', plan('    currency: EUR\n'), /no YAML.*unique/],
    ['a member that is not known', plan('    effective: now\n'), /plans\.0\.effective: there is no such member/],
    ['a plan that stands there twice', plan() + plan().replace('\nplans:\n', ''), /"basic" stands here twice/],
    [
      'a price that lacks something',
      plan('', '"20.00", rate: "1"'),
      /charge "base", price\.rate: There is no such field/,
    ],
    ['a number that is no decimal', plan('', '1e3'), /charge "base", price\.amount: Send a decimal/],
    ['an interval that is not known', plan().replace('month', 'fortnight'), /plans\.0\.interval/],
    ['no charges', plan().replace(/charges:[\s\S]*/, 'charges: []\n'), /plans\.0\.charges/],
    ['an entitlement that is none', plan('    entitlements: {a: {type: metered}}\n'), /plans\.0\.entitlements\.a/],
    ['something else', '- a\n', /The file/],
    ['nothing', '', /The file/],
  ])('%s is told with its place', (_, yaml, message) => {
    expect(() => parseCatalogueFile(yaml)).toThrow(FileError)
    expect(() => parseCatalogueFile(yaml)).toThrow(message)
  })

  test('aliases that unfold to more than a file can be are refused', () => {
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x,x]']
    for (let level = 1; level < 9; level++) {
      const [from, to] = ['abcdefghij'[level - 1], 'abcdefghij'[level]]
      bomb.push(`${to}: &${to} [${Array.from({ length: 10 }, () => `*${from}`).join(',')}]`)
    }
    expect(() => parseCatalogueFile(bomb.join('\n'))).toThrow(FileError)
  })
})
