import { expect, test } from 'vitest'
import type { Plan } from '../../../../invoicer/agreements/plans/plan.ts'
import { billedPeriod, type ToRate } from '../../../../invoicer/billing/due.ts'
import { possiblePeriods, type Recomputed, recompute } from '../../../../invoicer/billing/explain/recompute-line.ts'
import { draftShares } from '../../../../invoicer/billing/lines.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { ratable, sharesOf } from '../../../../invoicer/billing/shares.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'

const at = (day: number) => Date.UTC(2026, 10, day)
const prices: Record<string, string> = { small: '30', large: '100' }

const planOf = (id: string): Plan<Price> | Problem => {
  const amount = prices[id]
  if (amount === undefined) return new Problem('calculation_failed', `Plan ${id} is not there.`)
  return {
    ...{ id, key: id, name: id, version: 1, effectiveFromMs: null, hash: '', createdAtMs: 0 },
    ...{ currency: 'USD', interval: 'month', every: 1, alignment: 'calendar', graceSeconds: 0 },
    prorationBasis: 'second',
    fees: 'in_arrears',
    charges: [
      { key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount } },
      {
        key: 'calls',
        name: 'Calls',
        meter: 'calls',
        price: { model: 'per_unit', unit_amount: '0.1', minimum_amount: '9' },
      },
    ],
  }
}

/** On the small plan until the 5th and from the 20th on, on the large one between. */
const subscription = {
  ...{
    id: 's',
    customerId: 'c',
    customerKey: 'c',
    subjects: ['c'],
    planId: 'small',
    revision: 2,
    graceMs: 0,
    next: null,
  },
  phases: [
    { startMs: at(5), planId: 'large', kind: 'active', bills: true },
    { startMs: at(20), planId: 'small', kind: 'active', bills: true },
  ],
  terms: { startMs: at(1), endMs: null, interval: 'month', every: 1, alignment: 'calendar', zone: 'UTC' },
} as const satisfies ToRate
const usage = { quantity: parseQuantity('20'), events: 2, digest: 7n }
const month = { startMs: at(1), endMs: Date.UTC(2026, 11, 1) }

function billed(of: ToRate, stored: { startMs: number; endMs: number }) {
  const period = ratable(of, billedPeriod(of.terms, stored), planOf)
  const usageOn = (planId: string) => ({ ...usage, quantity: usage.quantity.times(planId === 'small' ? 2 : 1) })
  const answers = new Map(
    period.portions.map(({ plan, parts: [first] }) => [`i/calls/${first.startMs}`, usageOn(plan.id)] as const),
  )
  return draftShares(sharesOf('i', period, answers, 'UTC')).lines.map((line) => ({
    ...line,
    startMs: line.period.startMs,
    // A true-up was made from the line before it.
    usage: line.meter === null ? null : usageOn(line.planId),
  }))
}

test('a line of a plan that was left and taken up again is recomputed over all its parts', () => {
  const lines = billed(subscription, month)
  expect(lines.map(({ description, amountMinor }) => [description, amountMinor])).toEqual([
    ['Base', 1500n],
    ['Calls', 400n],
    ['Calls (minimum)', 50n],
    ['Base', 5000n],
    ['Calls', 200n],
    ['Calls (minimum)', 250n],
  ])
  for (const line of lines) {
    const found = recompute(line, subscription, possiblePeriods(subscription.terms, month), planOf) as Recomputed
    expect([found.amountMinor, found.breakdown]).toEqual([line.amountMinor, line.breakdown])
    expect(found.parts.map(({ startMs, endMs }) => [startMs, endMs])).toEqual(
      line.planId === 'small'
        ? [
            [at(1), at(5)],
            [at(20), month.endMs],
          ]
        : [[at(5), at(20)]],
    )
  }
})

test('a last period is recomputed as it was cut, though the subscription goes on since', () => {
  const cut = { startMs: at(1), endMs: at(16) }
  const ended = { ...subscription, phases: null, terms: { ...subscription.terms, endMs: at(16) } }
  const [line] = billed(ended, cut)
  expect(line!.amountMinor).toBe(1500n)
  for (const of of [ended, { ...ended, terms: subscription.terms }]) {
    const found = recompute(line!, of, possiblePeriods(of.terms, cut), planOf) as Recomputed
    expect(found.amountMinor).toBe(1500n)
  }
})

test('an adjustment is about a line with its true-up', () => {
  const lines = billed(subscription, month).filter(
    ({ planId, chargeKey }) => planId === 'large' && chargeKey === 'calls',
  )
  const both = { ...lines[0]!, amountMinor: 450n, breakdown: lines.flatMap(({ breakdown }) => breakdown) }
  const found = recompute(both, subscription, possiblePeriods(subscription.terms, month), planOf) as Recomputed
  expect([found.amountMinor, found.breakdown]).toEqual([450n, both.breakdown])
})

test('what the plan does not make, or no plan does, is told', () => {
  const [line] = billed(subscription, month)
  const periods = possiblePeriods(subscription.terms, month)
  expect(recompute({ ...line!, chargeKey: 'other' }, subscription, periods, planOf)).toBeUndefined()
  expect(recompute({ ...line!, startMs: at(2) }, subscription, periods, planOf)).toBeUndefined()
  const nowhere = (id: string) => new Problem('calculation_failed', `Plan ${id} is not there.`)
  expect(recompute(line!, subscription, periods, nowhere)).toBeInstanceOf(Problem)
})
