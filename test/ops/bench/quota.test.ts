import { describe, expect, test } from 'vitest'
import type { Row } from '../../../ops/bench/measure.ts'
import { addedFact } from '../../../ops/bench/quota/added.ts'
import { checkBody } from '../../../ops/bench/quota/check-body.ts'
import { cpuUsIn } from '../../../ops/bench/quota/redis-cpu.redis.ts'
import { tableOf } from '../../../ops/bench/result.ts'
import { SIZES } from '../../../ops/bench/sizes.ts'

/** Rounds of `[with a limit, without]`, µs of all units of the round. */
function rowOf(units: number, ...rounds: [number, number][]): Row {
  const side = { cpuUs: 8, lowestUs: 7, highestUs: 9, perSecond: 1_000 }
  const reading = (cpuUs: number) => ({ cpuUs, wallMs: 1, units })
  return {
    ...{ mode: 'servers', figure: 'quota, batch of 100, one subject', floor: 'none', unit: 'event' },
    ...{ process: 'Redis', unitsPerRound: units, rounds: rounds.length, product: side, floorSide: side, ratio: 1.2 },
    target: { ratioAtMost: 1.5 },
    samples: rounds.map(([product, floor]) => ({ product: reading(product), floor: reading(floor) })),
  }
}

describe('what a limit adds', () => {
  test('is the middle of the differences of the rounds, and not the difference of the middles', () => {
    // Middles: 900 and 750. What disturbs a round disturbs both of its sides.
    const row = rowOf(100, [900, 800], [2_000, 1_900], [500, 300], [950, 750], [400, 280])
    expect(addedFact(row, '≤ 1.5 µs')).toEqual({
      ...{ mode: 'servers', figure: 'quota, batch of 100, one subject', unit: 'µs', target: '≤ 1.5 µs' },
      what: 'added by quota to an event, CPU of Redis',
      value: expect.closeTo(1.2),
      detail: { addedUs: [1, 1, 2, 2, 1.2].map((us) => expect.closeTo(us)) },
    })
  })

  test('is below nothing where the sides scatter more than it is', () => {
    expect(addedFact(rowOf(10, [70, 80]), '').value).toBe(-1)
  })
})

test('the table shows a target that is a ratio', () => {
  const machine = { cores: 2, cpu: 'x', memoryGb: 24, node: '20.0.0', platform: 'linux x64' }
  const result = { date: '2026-11-21', size: 'default', sizes: SIZES.default, machine, stack: undefined } as const
  expect(tableOf({ ...result, rows: [rowOf(1, [2, 1])] })).toContain('| 1.2× | 1,000 events/s | 1,000/s | ≤ 1.5× |')
})

describe('the CPU time of Redis', () => {
  const INFO = [
    '# CPU',
    'used_cpu_sys:1.250000',
    'used_cpu_user:2.500001',
    'used_cpu_sys_children:7.000000',
    'used_cpu_user_children:8.000000',
    'used_cpu_user_main_thread:2.400000',
  ]

  test('is user and system time of all its threads, without what it forked', () => {
    expect(cpuUsIn(INFO.join('\r\n'))).toBeCloseTo(3_750_001)
  })

  test('is an error where it is not told', () => {
    expect(() => cpuUsIn('# CPU\r\nused_cpu_sys:1.0')).toThrow('does not tell its CPU time')
  })
})

test('a question names the meter that has a limit', () => {
  expect(JSON.parse(checkBody(['customer-1', 'customer-2']))).toEqual({
    checks: ['customer-1', 'customer-2'].map((subject) => ({ subject, meter: 'context_tokens', quantity: '5' })),
  })
})
