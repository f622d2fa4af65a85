import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ratePackage } from '../../../../invoicer/billing/rating/package.ts'
import type { PackagePrice } from '../../../../invoicer/billing/rating/price.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'
import { runs } from '../../../support/runs.ts'

const price: PackagePrice = { model: 'package', amount: '100', package_size: '10' }
const rated = (quantity: string, change: Partial<PackagePrice> = {}) =>
  ratePackage({ ...price, ...change }, parseQuantity(quantity))

describe('a package price (billing-rules, Tiers)', () => {
  test.each([
    ['0', '0', '0'],
    ['0.000000000001', '100', '0'],
    ['9.999', '100', '0'],
    ['10', '100', '100'],
    ['10.1', '200', '100'],
    ['121', '1300', '1200'],
    ['-5', '0', '0'],
    ['-25', '0', '0'],
  ])('charges for %s units %s, and %s with round: down', (quantity, up, down) => {
    expect(rated(quantity).exact.toFixed()).toBe(up)
    expect(rated(quantity, { round: 'up' }).exact.toFixed()).toBe(up)
    expect(rated(quantity, { round: 'down' }).exact.toFixed()).toBe(down)
  })

  test('shows how many packages', () => {
    expect(rated('121').breakdown).toEqual([
      { type: 'package', quantity: '121', packages: '13', package_size: '10', amount: '1300' },
    ])
  })

  test('counts exactly where the quotient has no end', () => {
    const size = '0.000000000003'
    expect(rated('1', { package_size: size }).breakdown[0]).toMatchObject({ packages: '333333333334' })
    const most = '9'.repeat(26)
    expect(rated(`${most}.000000000001`, { package_size: most }).breakdown[0]).toMatchObject({ packages: '2' })
  })

  test('charges at least what a price per unit would, and less than one package more', () => {
    fc.assert(
      fc.property(fc.nat(10_000), fc.integer({ min: 1, max: 97 }), (hundredths, size) => {
        const quantity = parseQuantity(String(hundredths / 100))
        const { exact } = ratePackage({ ...price, package_size: String(size) }, quantity)
        const packages = exact.div(100)
        expect(packages.isInteger()).toBe(true)
        expect(packages.times(size).greaterThanOrEqualTo(quantity)).toBe(true)
        expect(packages.minus(1).times(size).lessThan(quantity)).toBe(true)
      }),
      { numRuns: runs(300) },
    )
  })
})
