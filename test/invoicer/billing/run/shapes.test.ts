import v8 from 'node:v8'
import { expect, test } from 'vitest'
import type { DueSubscription } from '../../../../invoicer/billing/due.ts'
import { rateChunk } from '../../../../invoicer/billing/run/rate-chunk.ts'
import { taxChunk } from '../../../../invoicer/billing/run/tax-chunk.ts'
import { embeddedTax } from '../../../../invoicer/billing/tax/tax-port.ts'
import { memoryUsage } from '../../support/memory-usage.ts'
import { DECEMBER, NOVEMBER, storedPlan } from '../../support/world.ts'
import { contextOf } from '../tax/contexts.ts'

v8.setFlagsFromString('--allow-natives-syntax')
const haveSameShape = new Function('a', 'b', 'return %HaveSameMap(a, b)') as (a: unknown, b: unknown) => boolean

const due = (id: string): DueSubscription => ({
  ...{
    id,
    customerId: `of-${id}`,
    customerKey: id,
    subjects: [id],
    planId: 'p',
    revision: 0,
    graceMs: 0,
    phases: null,
  },
  terms: { startMs: NOVEMBER, endMs: null, interval: 'month', every: 1, alignment: 'calendar', zone: 'UTC' },
  next: { startMs: NOVEMBER, endMs: DECEMBER },
})

/** A shape for each line or draft made a billing run a third dearer (decision 0053): it shows once the code is warm. */
test('the drafts of a chunk have one shape, and so have their lines of a kind', async () => {
  const subscriptions = Array.from({ length: 1_000 }, (_, index) => due(`s${index}`))
  const at = { asOfMs: DECEMBER, knownBeforeMs: DECEMBER }
  const rated = await rateChunk(memoryUsage([]), 1, at, subscriptions, () => storedPlan())
  const { invoices } = await taxChunk(embeddedTax, () => contextOf(), rated, DECEMBER)
  expect(invoices).toHaveLength(1_000)
  const [one, other] = [invoices[998]!, invoices[999]!]
  expect(one.draft.lines[0]?.tax).toBeDefined()
  expect(haveSameShape(one, other)).toBe(true)
  expect(haveSameShape(one.draft, other.draft)).toBe(true)
  for (const [place, line] of one.draft.lines.entries()) {
    expect(haveSameShape(line, other.draft.lines[place])).toBe(true)
    expect(haveSameShape(line.tax, other.draft.lines[place]?.tax)).toBe(true)
  }
})
