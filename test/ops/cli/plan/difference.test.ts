import { describe, expect, test } from 'vitest'
import type { Entitlement } from '../../../../ingest/entitlements/entitlement.ts'
import { differenceOf as differenceAt, isNothing, type LivePlan } from '../../../../ops/cli/plan/difference.ts'
import { differencesText } from '../../../../ops/cli/plan/difference-text.ts'
import type { CataloguePlan } from '../../../../ops/cli/plan/plan-file.ts'

/** Issue 7, pricing as code: what a file would change. */
const charge = (key: string, amount: string) => ({ key, name: 'Fee', meter: null, price: { model: 'flat', amount } })
const content: CataloguePlan['content'] = {
  ...{ name: 'Basic', currency: 'USD', interval: 'month', every: 1, alignment: 'calendar' },
  ...{
    graceSeconds: 3600,
    prorationBasis: 'second',
    fees: 'in_arrears',
    charges: [charge('a', '1'), charge('b', '2')],
  },
}
const minutes = (limit: string, more: object = {}): Entitlement => ({
  ...{ type: 'metered', meter: 'minutes', limit, window: 'month' },
  ...more,
})
const plan = (change: Partial<CataloguePlan['content']> = {}, entitlements?: CataloguePlan['entitlements']) => ({
  key: 'basic',
  content: { ...content, ...change },
  entitlements,
  listing: {},
})
const live = (entitlements: LivePlan['entitlements'] = new Map(), effectiveFromMs: number | null = null): LivePlan => ({
  ...{ content, version: 3, effectiveFromMs, entitlements },
  listing: { product: null, archived: false },
})
const NOW = Date.UTC(2026, 5, 1)
const NEW_YEAR = Date.UTC(2027, 0, 1)
const differenceOf = (file: CataloguePlan, stored: LivePlan | undefined, effectiveFromMs?: number) =>
  differenceAt(file, stored, { nowMs: NOW, effectiveFromMs })

describe('the difference of a plan', () => {
  test('is nothing where both say the same, however it is spelled', () => {
    const same = differenceOf(plan({ charges: [charge('a', '1.00'), charge('b', '02')] }), live())
    expect(same).toMatchObject({ version: null, lines: [], refused: [] })
    expect(isNothing(same)).toBe(true)
  })

  test('is nothing in when fees are billed, where the file does not say that', () => {
    const silent = { ...plan({ fees: 'in_advance' }), feesLeftOut: true as const }
    expect(isNothing(differenceOf(silent, live()))).toBe(true)
    expect(differenceOf(silent, undefined).lines).toContain('+ fees: "in_advance"')
    expect(differenceOf(plan({ fees: 'in_advance' }), live()).lines).toEqual([
      '- fees: "in_arrears"',
      '+ fees: "in_advance"',
    ])
  })

  test('is a new plan where there is none', () => {
    const { version, lines } = differenceOf(plan(), undefined)
    expect(version).toBe(1)
    expect(lines).toContain('+ charges[a].price.amount: "1"')
  })

  test('is the next version where a price, a name or the order differs, and says what', () => {
    const dearer = differenceOf(plan({ charges: [charge('a', '1'), charge('b', '3')] }), live())
    expect(dearer).toMatchObject({
      version: 4,
      lines: ['- charges[b].price.amount: "2"', '+ charges[b].price.amount: "3"'],
      refused: [],
    })
    expect(differenceOf(plan({ name: 'Other' }), live()).lines).toEqual(['- name: "Basic"', '+ name: "Other"'])
    expect(differenceOf(plan({ charges: [charge('b', '2'), charge('a', '1')] }), live()).lines).toEqual([
      '- order of charges: "a, b"',
      '+ order of charges: "b, a"',
    ])
    expect(differenceOf(plan({ charges: [charge('a', '1')] }), live()).lines).toContain(
      '- charges[b].price.amount: "2"',
    )
  })

  test.each([{ currency: 'EUR' }, { interval: 'year' as const }, { every: 2 }, { alignment: 'anniversary' as const }])(
    'is refused with other terms: %o',
    (change) => {
      const { refused } = differenceOf(plan(change), live())
      expect(refused).toEqual([expect.stringContaining(`${Object.keys(change)[0]}: This is `)])
    },
  )

  test('leaves entitlements alone that the file does not speak of', () => {
    expect(isNothing(differenceOf(plan(), live(new Map([['m', minutes('5')]]))))).toBe(true)
  })

  test('compares entitlements as they are stored, and takes those away that the file lacks', () => {
    const stored = minutes('5', {
      ...{ per: 'subject', enforcement: 'hard', when_away: 'closed', thresholds: ['50%', '80%', '100%'] },
    })
    const given = new Map([['m', minutes('5.0')]])
    expect(isNothing(differenceOf(plan({}, given), live(new Map([['m', stored]]))))).toBe(true)
    const { version, entitlements } = differenceOf(plan({}, given), live(new Map([['old', stored]])))
    expect(version).toBeNull()
    expect(entitlements).toEqual([
      { feature: 'm', before: undefined, after: minutes('5.0') },
      { feature: 'old', before: stored, after: undefined },
    ])
  })

  test('of what waits for its date is nothing, unless another date is named', () => {
    const waiting = live(new Map(), NEW_YEAR)
    for (const from of [undefined, NEW_YEAR]) {
      const same = differenceOf(plan(), waiting, from)
      expect(isNothing(same)).toBe(true)
      expect(differencesText([same], from)).toBe('  plan "basic": as it is, from 2027-01-01T00:00:00.000Z\n')
    }
    const other = differenceOf(plan(), waiting, NEW_YEAR + 60_000)
    expect(isNothing(other)).toBe(false)
    expect(differencesText([other], NEW_YEAR + 60_000)).toBe(`~ plan "basic": as it is, from 2027-01-01T00:00:00.000Z
  ! refused: effective_from: version 3 has this content and takes effect at 2027-01-01T00:00:00.000Z, which nothing changes.
`)
    // What is in effect is not in question: the date is of others in the file.
    expect(isNothing(differenceOf(plan(), live(new Map(), NOW), NEW_YEAR))).toBe(true)
  })

  test('reads as text', () => {
    const told = (from?: number) =>
      differencesText(
        [
          differenceOf(plan(), live(), from),
          differenceOf(plan({ name: 'Other', currency: 'EUR' }, new Map([['m', minutes('5')]])), live(), from),
          differenceOf(plan({}, new Map([['m', minutes('5')]])), live(new Map([['m', minutes('6')]])), from),
        ],
        from,
      )
    expect(told()).toBe(`  plan "basic": as it is
~ plan "basic": version 4, from the minute in which it is stored:
    for subscriptions and changes made after it that begin from then on; those of today stay on theirs
      - name: "Basic"
      + name: "Other"
      - currency: "USD"
      + currency: "EUR"
    entitlements, at once for everybody on it:
      + m: {"type":"metered","meter":"minutes","limit":"5","window":"month"}
  ! refused: currency: This is "USD" in every version of the plan: make a plan with another key.
~ plan "basic": as it is, but for its entitlements
    entitlements, at once for everybody on it:
      - m: {"type":"metered","meter":"minutes","limit":"6","window":"month"}
      + m: {"type":"metered","meter":"minutes","limit":"5","window":"month"}
`)
    expect(told(NEW_YEAR)).toContain('version 4, from 2027-01-01T00:00:00.000Z:\n    for subscriptions and changes')
    const unseen = differenceOf(plan({}, new Map([['m', minutes('5')]])), undefined)
    expect(differencesText([unseen], undefined)).toMatch(
      /^\+ plan "basic": new\n[\s\S]*\n {4}entitlements, at once for everybody/,
    )
    expect(differencesText([unseen], NEW_YEAR)).toContain(
      '+ plan "basic": new, from always; --effective-from does not apply to it\n',
    )
  })
})
