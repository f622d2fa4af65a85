import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MARK_TTL_MS } from '../../../../ingest/quota/quota-marks.lua.ts'
import { runsOf } from '../../../../ingest/quota/quota-marks.ts'
import {
  correctionOf,
  driftOf,
  follow,
  isCertain,
  type Run,
  TOO_HIGH_STANDS_MS,
} from '../../../../ingest/quota/reconcile/drift.ts'
import { NOVEMBER_20 } from '../../../support/log-events.ts'
import { ulid, uuid } from '../ids.ts'

const MINUTE_MS = 60_000
const sum = (some: readonly { micro: bigint }[]) => some.reduce((total, { micro }) => total + micro, 0n)
const lesser = (one: bigint, other: bigint) => (one > other ? other : one)
const looks = (drawnBeforeMicro: bigint, usageMicro: bigint, drawnAfterMicro: bigint, events = 0n) => {
  return { drawnBeforeMicro, usageMicro, events, drawnAfterMicro }
}

describe('one comparison', () => {
  test.each([
    ['equal', looks(10n, 10n, 10n), 0n],
    ['too low', looks(7n, 10n, 7n), -3n],
    ['too low by less, since something was drawn meanwhile', looks(7n, 10n, 9n), -1n],
    ['drawn meanwhile, which may be all there is', looks(7n, 10n, 10n), 0n],
    ['too high, or under way', looks(12n, 10n, 12n), 2n],
    ['too high by what both looks contain', looks(12n, 10n, 15n), 2n],
    ['given back meanwhile', looks(15n, 10n, 12n), 2n],
    ['each of three events was rounded up', looks(13n, 10n, 13n, 3n), 0n],
    ['more than rounding up can do', looks(14n, 10n, 14n, 3n), 4n],
  ])('%s', (_name, seen, drift) => {
    expect(driftOf(seen)).toBe(drift)
  })

  type Event = { micro: bigint; state: 'drawn' | 'stored' | 'given back' }
  const step = fc.record({
    what: fc.constantFrom('draw', 'draw', 'store', 'store', 'give back', 'grant', 'use', 'end'),
    micro: fc.bigInt(1n, 20n),
    which: fc.nat(50),
  })
  const steps = fc.array(step, { maxLength: 12 })

  /** A counter with its holds, wrong by `error` from the beginning. */
  function world(error: bigint) {
    const events: Event[] = []
    const holds: { left: bigint }[] = []
    let used = 1_000n + error
    const stored = () => 1_000n + sum(events.filter(({ state }) => state === 'stored'))
    const held = () => holds.reduce((total, { left }) => total + left, 0n)
    const run = (some: readonly { what: string; micro: bigint; which: number }[]) => {
      for (const { what, micro, which } of some) {
        const underWay = events.filter(({ state }) => state === 'drawn')
        const event = underWay[which % Math.max(1, underWay.length)]
        const hold = holds[which % Math.max(1, holds.length)]
        if (what === 'draw') {
          used += micro
          events.push({ micro, state: 'drawn' })
        } else if (what === 'store' && event) event.state = 'stored'
        else if (what === 'give back' && event) {
          used -= event.micro
          event.state = 'given back'
        } else if (what === 'grant') {
          used += micro
          holds.push({ left: micro })
        } else if (what === 'use' && hold) {
          const some = lesser(micro, hold.left)
          hold.left -= some
          used += micro - some
          events.push({ micro, state: 'drawn' })
        } else if (what === 'end' && hold) {
          used -= hold.left
          hold.left = 0n
        }
      }
    }
    return { events, run, stored, drawn: () => used - held() }
  }

  test('whatever goes on, it never says too low of what is not, and too high at most of what is under way', () => {
    fc.assert(
      fc.property(fc.bigInt(-30n, 30n), steps, steps, steps, (error, before, between, after) => {
        const { events, run, stored, drawn } = world(error)
        run(before)
        const [drawnBeforeMicro, known] = [drawn(), [...events]]
        run(between)
        const usageMicro = stored()
        const underWay = sum(known.filter(({ state }) => state !== 'stored'))
        run(after)
        const drift = driftOf({ drawnBeforeMicro, usageMicro, events: 0n, drawnAfterMicro: drawn() })
        if (drift < 0n) expect(drift).toBeGreaterThanOrEqual(error)
        else expect(drift).toBeLessThanOrEqual((error > 0n ? error : 0n) + underWay)
      }),
      { numRuns: 2_000 },
    )
  })

  test('when nothing is under way it says exactly how wrong the counter is, whatever is held', () => {
    fc.assert(
      fc.property(fc.bigInt(-30n, 30n), steps, (error, before) => {
        const { events, run, stored, drawn } = world(error)
        run(before)
        for (const event of events) if (event.state === 'drawn') event.state = 'stored'
        const seen = { drawnBeforeMicro: drawn(), usageMicro: stored(), events: 0n, drawnAfterMicro: drawn() }
        expect(driftOf(seen)).toBe(error)
      }),
    )
  })
})

describe('pass after pass', () => {
  const follows = (...seen: [number, ReturnType<typeof looks>][]) =>
    seen.reduce<Run | undefined>((run, [minute, one]) => follow(run, one, minute * MINUTE_MS), undefined)

  test('what one pass saw is not certain; of two it is what both saw', () => {
    const once = follows([0, looks(15n, 10n, 15n)])
    expect(once && isCertain(once)).toBe(false)
    expect(follows([0, looks(15n, 10n, 15n)], [1, looks(16n, 13n, 16n)])).toEqual({
      ...{ driftMicro: 3n, passes: 2, sinceMs: 0, drawnMicro: 15n },
    })
    // Some was given back.
    expect(follows([0, looks(15n, 10n, 15n)], [1, looks(14n, 10n, 14n)], [2, looks(19n, 10n, 19n)])).toEqual({
      ...{ driftMicro: 4n, passes: 3, sinceMs: 0, drawnMicro: 14n },
    })
    // All that was drawn at the first is stored by now.
    expect(follows([0, looks(15n, 10n, 15n)], [1, looks(18n, 15n, 18n)])).toEqual({
      ...{ driftMicro: 3n, passes: 2, sinceMs: MINUTE_MS, drawnMicro: 18n },
    })
    expect(follows([0, looks(5n, 10n, 5n)], [1, looks(8n, 20n, 8n)])?.driftMicro).toBe(-5n)
  })

  test('a pass that saw nothing, or the contrary, ends it', () => {
    expect(follows([0, looks(15n, 10n, 15n)], [1, looks(15n, 15n, 15n)])).toBeUndefined()
    expect(follows([0, looks(15n, 10n, 15n)], [1, looks(5n, 10n, 5n)])).toMatchObject({ passes: 1, sinceMs: MINUTE_MS })
  })

  test('too low is raised at once when it is certain, too high lowered when it has stood', () => {
    const low = follows([0, looks(5n, 10n, 5n)], [1, looks(8n, 10n, 8n)])
    expect(low && correctionOf(low, 10n, MINUTE_MS, TOO_HIGH_STANDS_MS)).toBe(2n)
    const high = follows([0, looks(15n, 10n, 15n)], [1, looks(15n, 10n, 15n)])
    expect(high && correctionOf(high, 10n, TOO_HIGH_STANDS_MS - 1, TOO_HIGH_STANDS_MS)).toBe(0n)
    expect(high && correctionOf(high, 10n, TOO_HIGH_STANDS_MS, TOO_HIGH_STANDS_MS)).toBe(-5n)
    expect(high && correctionOf(high, 13n, TOO_HIGH_STANDS_MS, TOO_HIGH_STANDS_MS)).toBe(-2n)
  })

  /** An emitter's clock is ahead: a set that is named by a time lives on with every addition, until long after it. */
  test.each([uuid, ulid])('too high has stood longer than any mark does: %o', (idOf) => {
    // Both kinds of sets begin here: it is the first moment at which one so far ahead takes a mark.
    const nowMs = NOVEMBER_20 - (NOVEMBER_20 % 2 ** 16)
    let longestMs = 0
    for (let aheadMinutes = -20; aheadMinutes <= 20; aheadMinutes += 0.5) {
      const item = { identity: `7\ntest\n${idOf(aheadMinutes, nowMs)}`, draws: [] }
      const isAddedTo = (afterMs: number) => runsOf(7, [item], nowMs + afterMs)[0]?.writes
      if (!isAddedTo(0)) continue
      for (let afterMs = longestMs; afterMs < 60 * MINUTE_MS; afterMs += 10_000)
        if (isAddedTo(afterMs)) longestMs = afterMs
    }
    expect(longestMs).toBeGreaterThanOrEqual(2 * MARK_TTL_MS)
    expect(TOO_HIGH_STANDS_MS).toBeGreaterThan(longestMs + MARK_TTL_MS + 2 * MINUTE_MS)
  })

  /** When an event is drawn, and what becomes of it: a place is a quarter of a minute. */
  const planned = fc.record({
    place: fc.nat(4 * 70),
    micro: fc.bigInt(1n, 20n),
    fate: fc.oneof(
      { weight: 4, arbitrary: fc.record({ is: fc.constant('stored'), after: fc.integer({ min: 0, max: 3 }) }) },
      { weight: 2, arbitrary: fc.record({ is: fc.constant('given back'), after: fc.integer({ min: 0, max: 3 }) }) },
      // Its process was killed after the draw. Sent again it draws nothing while its mark stands.
      {
        weight: 3,
        arbitrary: fc.record({ is: fc.constant('sent again'), after: fc.integer({ min: 1, max: 4 * 47 - 1 }) }),
      },
      { weight: 2, arbitrary: fc.record({ is: fc.constant('lost'), after: fc.constant(0) }) },
      // Its append failed, although the log has it.
      { weight: 1, arbitrary: fc.record({ is: fc.constant('both'), after: fc.integer({ min: 0, max: 3 }) }) },
    ),
  })

  /**
   * design.md §6: a counter is exact for admission. A minute has four places: before the first look, between the looks
   * and usage, between usage and the second look, after it.
   */
  test('corrections take off nothing that may still come, add nothing twice, and end at what usage says', () => {
    fc.assert(
      fc.property(fc.bigInt(-50n, 50n), fc.array(planned, { maxLength: 25 }), (error, plan) => {
        let drawn = 1_000n + error
        let stored = 1_000n
        /** What the counter contains and usage, as asked, does not, although it has come since or may still come. */
        const toCome = (asked: number, now: number) =>
          sum(
            plan.filter(({ place, fate: { is, after } }) => {
              const cameSince = (is === 'stored' || is === 'sent again') && place + after > asked
              return place <= now && is !== 'lost' && (cameSince || place + after > now)
            }),
          )
        const at = (place: number) => {
          for (const { place: from, micro, fate } of plan) {
            if (from === place) drawn += micro
            if (from + fate.after !== place || fate.is === 'lost') continue
            if (fate.is !== 'given back') stored += micro
            if (fate.is === 'given back' || fate.is === 'both') drawn -= micro
          }
        }
        let run: Run | undefined
        for (let minute = 0; minute < 70 + 4 * 56; minute++) {
          at(4 * minute)
          const drawnBeforeMicro = drawn
          at(4 * minute + 1)
          const usageMicro = stored
          at(4 * minute + 2)
          const nowMs = minute * MINUTE_MS
          run = follow(run, { drawnBeforeMicro, usageMicro, events: 0n, drawnAfterMicro: drawn }, nowMs)
          const added = run ? correctionOf(run, usageMicro, nowMs, TOO_HIGH_STANDS_MS) : 0n
          const needed = usageMicro + toCome(4 * minute + 1, 4 * minute + 2)
          if (added < 0n) expect(drawn + added).toBeGreaterThanOrEqual(needed)
          if (added > 0n) expect(drawn + added).toBeLessThanOrEqual(needed)
          if (added !== 0n) run = undefined
          drawn += added
          at(4 * minute + 3)
        }
        expect(drawn).toBe(stored)
      }),
      { numRuns: 1_000 },
    )
  })
})
