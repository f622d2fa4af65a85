import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PlanContent } from '../../../../invoicer/agreements/plans/plan.ts'
import { planHash } from '../../../../invoicer/agreements/plans/plan-hash.ts'
import { runs } from '../../../support/runs.ts'

/** Issue 7: each version has a content hash that invoices quote. Decision 0034 says what is in it. */
const graduated = {
  model: 'graduated',
  tiers: [
    { up_to: '100', unit_amount: '0.10', flat_amount: '2' },
    { up_to: null, unit_amount: '0.05' },
  ],
  minimum_amount: '5',
}
const content: PlanContent = {
  name: 'Plan',
  currency: 'USD',
  interval: 'month',
  every: 1,
  alignment: 'calendar',
  graceSeconds: 3600,
  prorationBasis: 'second',
  fees: 'in_arrears',
  charges: [
    { key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount: '20.00' } as { model: string } },
    { key: 'use', name: 'Use', meter: 'tokens', price: graduated },
  ],
}
const [base, use] = content.charges as [PlanContent['charges'][number], PlanContent['charges'][number]]
const withUse = (change: object): PlanContent => ({ ...content, charges: [base, { ...use, ...change }] })
const withPrice = (price: object): PlanContent => withUse({ price: { ...graduated, ...price } })

describe('the content hash of a version', () => {
  test('is a SHA-256 that is the same for ever', () => {
    // Invoices quote it: if this changes, every invoice before names a hash that nobody can compute any more.
    expect(planHash(content)).toBe('565c527299ed6a11c5e322772d6d93ab905e09ab930498cc1b99f429b826051d')
  })

  test.each<[string, PlanContent]>([
    ['the name of the plan', { ...content, name: 'Another' }],
    ['the name of a charge', withUse({ name: 'Another' })],
    ['the spelling of a decimal', withPrice({ minimum_amount: '5.000' })],
    ['the spelling of a bound', withPrice({ tiers: [{ ...graduated.tiers[0], up_to: '0100.0' }, graduated.tiers[1]] })],
  ])('does not depend on %s', (_, other) => {
    expect(planHash(other)).toBe(planHash(content))
  })

  test.each<[string, PlanContent]>([
    ['the currency', { ...content, currency: 'EUR' }],
    ['the interval', { ...content, interval: 'quarter' }],
    ['how many intervals a period is long', { ...content, every: 2 }],
    ['the alignment', { ...content, alignment: 'anniversary' }],
    ['the grace', { ...content, graceSeconds: 0 }],
    ['the basis of proration', { ...content, prorationBasis: 'day' }],
    ['the order of the charges', { ...content, charges: [use, base] }],
    ['a charge more', { ...content, charges: [base, use, { ...base, key: 'more' }] }],
    ['the key of a charge', withUse({ key: 'another' })],
    ['the meter', withUse({ meter: 'requests' })],
    ['the model', withPrice({ model: 'volume' })],
    ['a price', withPrice({ tiers: [graduated.tiers[0], { up_to: null, unit_amount: '0.051' }] })],
    ['a bound of a tier', withPrice({ tiers: [{ ...graduated.tiers[0], up_to: '101' }, graduated.tiers[1]] })],
    ['the order of tiers', withPrice({ tiers: [...graduated.tiers].reverse() })],
    ['a minimum', withPrice({ minimum_amount: '5.01' })],
    ['a maximum', withPrice({ maximum_amount: '5' })],
    ['units that are included', withPrice({ included_units: '1' })],
    ['a discount', withPrice({ discount_percent: '1' })],
    ['the tax class of a charge', withUse({ taxClass: 'saas' })],
  ])('depends on %s', (_, other) => {
    expect(planHash(other)).not.toBe(planHash(content))
  })

  test('takes text that only looks like a decimal as it is', () => {
    const matrix = (region: string) =>
      withUse({ price: { model: 'matrix', dimensions: ['region'], cells: [{ when: { region }, unit_amount: '1' }] } })
    expect(planHash(matrix('1.0'))).not.toBe(planHash(matrix('1')))
    expect(planHash(matrix('1'))).toBe(planHash(matrix('1')))
  })

  test('is the same in whatever order members stand and however decimals are spelled, and only then', () => {
    const digits = fc.bigInt({ min: 0n, max: 10n ** 20n })
    fc.assert(
      fc.property(digits, digits, fc.nat(12), fc.nat(6), fc.integer(), (a, b, places, zeros, seed) => {
        const price = (amount: bigint) => withPrice({ tiers: [{ up_to: null, unit_amount: spelled(amount, places) }] })
        const respelled = withPrice({ tiers: [{ up_to: null, unit_amount: spelled(a, places, zeros) }] })
        expect(planHash(shuffled(respelled, seed) as PlanContent)).toBe(planHash(price(a)))
        expect(planHash(price(a)) === planHash(price(b))).toBe(a === b)
      }),
      { numRuns: runs(200) },
    )
  })
})

/** An integer with its point moved; with zeros that say nothing before it and, as far as they may stand, behind. */
function spelled(value: bigint, places: number, zeros = 0): string {
  const text = value.toString().padStart(places + 1, '0')
  const point = text.length - places
  const more = '0'.repeat(Math.min(zeros, 12 - places))
  const fraction = `${text.slice(point)}${more}`
  return `${'0'.repeat(zeros)}${text.slice(0, point)}${fraction === '' ? '' : `.${fraction}`}`
}

/** The same value with its members in another order. */
function shuffled(value: unknown, seed: number): unknown {
  if (Array.isArray(value)) return value.map((one) => shuffled(one, seed))
  if (typeof value !== 'object' || value === null) return value
  const members = Object.entries(value).map(([name, member]): [string, unknown] => [name, shuffled(member, seed)])
  const at = Math.abs(seed) % Math.max(1, members.length)
  return Object.fromEntries([...members.slice(at), ...members.slice(0, at)].reverse())
}
