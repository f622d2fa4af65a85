import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Draw, drawnBy, settleDraw } from '../../../../invoicer/billing/commitments/draw.ts'
import { runs } from '../../../support/runs.ts'

const DAY_MS = 86_400_000
const PLAN = { planId: 'plan', chargeKey: 'use' }
const windowOf = (periods: number, committedMinor: bigint) => {
  return { startMs: 0, endMs: periods * DAY_MS, committedMinor, servedUntilMs: periods * DAY_MS }
}
const periodOf = (index: number) => ({ startMs: index * DAY_MS, endMs: (index + 1) * DAY_MS })

/** Periods billed in order, each for what it used; their lines, and what is missing behind them. */
function billed(committedMinor: bigint, factor: string | undefined, ...used: bigint[]): string[] {
  const draws: Draw[] = []
  return used.map((baseMinor, index) => {
    const of = { ...PLAN, period: periodOf(index), baseMinor }
    const { draw, lineMinor, missingMinor } = settleDraw(
      of,
      windowOf(used.length, committedMinor),
      factor,
      draws,
      'USD',
    )
    draws.push(draw)
    return missingMinor === 0n ? `${lineMinor}` : `${lineMinor} + ${missingMinor}`
  })
}

/** SUB-1, billing-rules "commitment": the true-up at the window's end brings the charge to the commitment. */
describe('a commitment of several periods', () => {
  test('is drawn down by all of them: what goes beyond it has the overage factor, in the period that goes beyond', () => {
    expect(billed(1000n, '1.5', 200n, 300n, 600n)).toEqual(['200', '300', '650'])
    expect(billed(1000n, '1.5', 900n, 300n, 10n)).toEqual(['900', '400', '15'])
    expect(billed(1000n, undefined, 900n, 300n, 10n)).toEqual(['900', '300', '10'])
  })

  test('brings the last of them up to itself, and none before', () => {
    expect(billed(1000n, '1.5', 200n, 300n, 100n)).toEqual(['200', '300', '100 + 400'])
    expect(billed(1000n, '1.5', 0n, 0n, 0n)).toEqual(['0', '0', '0 + 1000'])
    expect(billed(1000n, '1.5', 400n, 300n, 300n)).toEqual(['400', '300', '300'])
    expect(billed(0n, '2', 400n, 300n)).toEqual(['800', '600'])
  })

  test('is each its own window, plan and charge', () => {
    const draws = [0, 1].map((index): Draw => {
      const { draw } = settleDraw(
        { ...PLAN, period: periodOf(index), baseMinor: 800n },
        windowOf(2, 1000n),
        '2',
        [],
        'USD',
      )
      return draw
    })
    const next = { startMs: 2 * DAY_MS, endMs: 4 * DAY_MS, committedMinor: 1000n, servedUntilMs: 4 * DAY_MS }
    const of = { ...PLAN, period: periodOf(2), baseMinor: 800n }
    expect(settleDraw(of, next, '2', draws, 'USD').lineMinor).toBe(800n)
    const other = { ...of, period: periodOf(1), chargeKey: 'other' }
    expect(settleDraw(other, windowOf(3, 1000n), '2', draws, 'USD').lineMinor).toBe(800n)
    expect(
      settleDraw({ ...of, planId: 'b', period: periodOf(1) }, windowOf(3, 1000n), '2', draws, 'USD').lineMinor,
    ).toBe(800n)
  })

  test('costs late usage below it nothing once it is settled, and what goes beyond it the factor', () => {
    const draws: Draw[] = []
    const bill = (index: number, baseMinor: bigint) => {
      const of = { ...PLAN, period: periodOf(index), baseMinor }
      const { draw, entry } = settleDraw(of, windowOf(3, 1000n), '1.5', draws, 'USD')
      const beforeMinor = drawnBy(draws, draw)?.amountMinor ?? 0n
      draws.push(draw)
      return [draw.amountMinor - beforeMinor, entry.settled]
    }
    expect([bill(0, 200n), bill(1, 300n), bill(2, 100n)]).toEqual([
      [200n, undefined],
      [300n, undefined],
      [500n, undefined],
    ])
    expect(bill(0, 500n)).toEqual([0n, true])
    expect(bill(1, 500n)).toEqual([150n, true])
    expect(bill(2, 0n)).toEqual([-150n, undefined])
  })

  const steps = (periods: number) =>
    fc.array(
      fc.record({
        period: fc.integer({ min: 0, max: periods - 1 }),
        baseMinor: fc.bigInt({ min: 0n, max: 2_000n }),
        isVoid: fc.boolean(),
      }),
      { maxLength: 20 },
    )

  test('has all its periods bill what they cost together, in whatever order they are billed, corrected, void and billed again', () => {
    const cases = fc
      .integer({ min: 1, max: 5 })
      .chain((periods) =>
        fc.tuple(
          ...([fc.constant(periods), steps(periods), fc.bigInt({ min: 0n, max: 4_000n })] as const),
          fc.constantFrom('0', '0.5', '1', '1.25', '2'),
        ),
      )
    fc.assert(
      fc.property(cases, ([periods, drawn, committedMinor, factor]) => {
        const window = windowOf(periods, committedMinor)
        const draws: Draw[] = []
        const living = () =>
          Array.from({ length: periods }, (_, index) => drawnBy(draws, { ...PLAN, period: periodOf(index) })).filter(
            (draw) => draw !== undefined,
          )
        const bill = (index: number, baseMinor: bigint) => {
          const { draw } = settleDraw({ ...PLAN, period: periodOf(index), baseMinor }, window, factor, draws, 'USD')
          draws.push(draw)
          return draw
        }
        for (const { period: index, baseMinor, isVoid } of drawn) {
          if (isVoid) draws.push({ ...bill(index, baseMinor), isVoid })
          else bill(index, baseMinor)
          // What a line leaves, and what one that is void leaves, the others give back, each once more, as late usage does.
          for (const { period, baseMinor: same } of living()) bill(period.startMs / DAY_MS, same)
          const usedMinor = sum(living().map((draw) => draw.baseMinor))
          const isSettled = living().some(({ period }) => period.startMs === (periods - 1) * DAY_MS)
          const expected = costOf(usedMinor, committedMinor, factor, isSettled)
          expect(sum(living().map(({ amountMinor }) => amountMinor))).toBe(expected)
          expect(draws.at(-1)?.restMinor ?? 0n).toBe(0n)
        }
      }),
      { numRuns: runs(500) },
    )
  })

  test('leaves no line below what was used, and says what the others have to give back', () => {
    const draws: Draw[] = []
    const bill = (index: number, baseMinor: bigint) => {
      const of = { ...PLAN, period: periodOf(index), baseMinor }
      const { draw } = settleDraw(of, windowOf(3, 1000n), '1.5', draws, 'USD')
      draws.push(draw)
      return [draw.amountMinor, draw.restMinor]
    }
    expect([bill(0, 200n), bill(1, 900n)]).toEqual([
      [200n, 0n],
      [950n, 0n],
    ])
    expect(bill(0, 0n)).toEqual([0n, -50n])
    expect(bill(1, 900n)).toEqual([900n, 0n])
  })

  test('is paid ahead where a plan goes on behind what settled it', () => {
    const period = periodOf(0)
    const early = { ...windowOf(3, 400n), servedUntilMs: period.endMs }
    const { draw } = settleDraw({ ...PLAN, period, baseMinor: 100n }, early, '2', [], 'USD')
    expect(draw.amountMinor).toBe(400n)
    const of = (index: number, baseMinor: bigint) => ({ ...PLAN, period: periodOf(index), baseMinor })
    const open = windowOf(3, 1200n)
    const second = settleDraw(of(1, 50n), open, '2', [draw], 'USD')
    expect([second.lineMinor, second.missingMinor, second.draw.restMinor]).toEqual([0n, 0n, 0n])
    const last = settleDraw(of(2, 50n), open, '2', [draw, second.draw], 'USD')
    expect([last.lineMinor, last.missingMinor, last.draw.restMinor]).toEqual([0n, 800n, 0n])
    // In place of what settled it nothing is owed before the end.
    expect(settleDraw(of(0, 100n), open, '2', [draw], 'USD').draw.amountMinor).toBe(100n)
  })
})

const sum = (minors: bigint[]) => minors.reduce((total, minor) => total + minor, 0n)

/** Beyond in hundredths of a minor unit, rounded half away from zero. */
function costOf(usedMinor: bigint, committedMinor: bigint, factor: string, isSettled: boolean): bigint {
  const beyondMinor = usedMinor - committedMinor
  if (beyondMinor <= 0n) return isSettled ? committedMinor : usedMinor
  return committedMinor + (beyondMinor * BigInt(Number(factor) * 100) + 50n) / 100n
}
