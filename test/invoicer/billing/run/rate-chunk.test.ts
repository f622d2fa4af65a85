import { expect, test } from 'vitest'
import type { Phase } from '../../../../invoicer/agreements/subscriptions/phases.ts'
import type { DueSubscription } from '../../../../invoicer/billing/due.ts'
import { rateChunk } from '../../../../invoicer/billing/run/rate-chunk.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { memoryUsage } from '../../support/memory-usage.ts'
import { DECEMBER, JANUARY, NOVEMBER, storedPlan } from '../../support/world.ts'

const FEBRUARY = Date.UTC(2024, 1, 1)
const DAY_MS = 86_400_000

/** Its plan is broken for three days from a time on. */
function due(brokenFromMs: number): DueSubscription {
  const phase = (startMs: number, planId: string): Phase => ({ startMs, planId, kind: 'active', bills: true })
  return {
    ...{ id: 's', customerId: 'c', customerKey: 'c', subjects: [], planId: 'good', revision: 1, graceMs: 0 },
    phases: [phase(NOVEMBER, 'good'), phase(brokenFromMs, 'broken'), phase(brokenFromMs + 3 * DAY_MS, 'good')],
    terms: { startMs: NOVEMBER, endMs: null, interval: 'month', every: 1, alignment: 'calendar', zone: 'UTC' },
    next: { startMs: NOVEMBER, endMs: DECEMBER },
  }
}
const rate = (subscription: DueSubscription) =>
  rateChunk(memoryUsage([]), 1, { asOfMs: FEBRUARY, knownBeforeMs: FEBRUARY }, [subscription], (id) =>
    id === 'good' ? { ...storedPlan(), id } : new Problem('calculation_failed', 'It is broken.'),
  )

/** It used to park all that was due, and November was not billed until somebody repaired a plan of January. */
test.each([
  ['the last', JANUARY + DAY_MS, [NOVEMBER, DECEMBER]],
  ['a later', DECEMBER, [NOVEMBER]],
  ['the first', NOVEMBER + DAY_MS, []],
])(
  'a plan that cannot be billed in %s due period parks from there, once, and those before are billed',
  async (_name, fromMs, billed) => {
    const { invoices, parked, more } = await rate(due(fromMs))
    expect(invoices.map(({ period }) => period.startMs)).toEqual(billed)
    const periodStartMs = [NOVEMBER, DECEMBER, JANUARY][billed.length]
    expect(parked).toMatchObject([{ subscription: { id: 's' }, periodStartMs, reason: 'It is broken.' }])
    expect(invoices.at(-1)?.next?.startMs).toBe(billed.length > 0 ? periodStartMs : undefined)
    expect(more).toBe(false)
  },
)
