import { describe, expect, test } from 'vitest'
import type { Fact } from '../../../ops/bench/fact.ts'
import type { Row } from '../../../ops/bench/measure.ts'
import { readOptions } from '../../../ops/bench/options.ts'
import { mergeResults, type Result, tableOf } from '../../../ops/bench/result.ts'
import { SIZES } from '../../../ops/bench/sizes.ts'

const MACHINE = { cores: 2, cpu: 'x', memoryGb: 24, node: '20.0.0', platform: 'linux x64' }
const SIDE = { cpuUs: 2, lowestUs: 1, highestUs: 3, perSecond: 1_000 }

function rowOf(figure: string, cpuUs: number): Row {
  const reading = { cpuUs, wallMs: 1, units: 1 }
  return {
    mode: 'servers',
    figure,
    floor: 'nothing',
    unit: 'event',
    process: 'ingest',
    unitsPerRound: 1,
    rounds: 1,
    product: { ...SIDE, cpuUs },
    floorSide: SIDE,
    ratio: cpuUs / 2,
    target: undefined,
    samples: [{ product: reading, floor: reading }],
  }
}

function factOf(what: string, value: number): Fact {
  return { mode: 'embedded', figure: 'growth', what, value, unit: 'µs', target: 'within ±15 %' }
}

function resultOf(lines: Pick<Result, 'rows' | 'facts'>, cores = 2): Result {
  const machine = { ...MACHINE, cores }
  return { date: '2026-11-21', size: 'default', sizes: SIZES.default, machine, stack: undefined, ...lines }
}

describe('the table', () => {
  test('has facts beside rows, each in a table of its mode', () => {
    const table = tableOf(resultOf({ rows: [rowOf('edge', 7)], facts: [factOf('a new event', 3.149)] }))
    expect(table).toContain('| edge | ingest | 7 µs (1–3) | 2 µs | 3.5× |')
    expect(table).toContain('| growth | a new event | 3.1 µs | within ±15 % |')
    expect(table.indexOf('Embedded stores')).toBeGreaterThan(table.indexOf('**Servers**'))
  })

  test('of facts alone names no floors', () => {
    expect(tableOf(resultOf({ rows: [], facts: [factOf('a new event', 1)] }))).not.toContain('Floors')
  })
})

describe('several results put together', () => {
  test('keep every figure, and of the same one the last', () => {
    const merged = mergeResults([
      resultOf({ rows: [rowOf('edge', 1), rowOf('log', 2)] }),
      resultOf({ rows: [rowOf('edge', 5)], facts: [factOf('old', 1), factOf('older', 2)] }),
      resultOf({ rows: [], facts: [factOf('new', 3)] }),
    ])
    expect(merged.rows.map(({ figure, product }) => [figure, product.cpuUs])).toEqual([
      ['log', 2],
      ['edge', 5],
    ])
    expect(merged.facts?.map(({ what }) => what)).toEqual(['new'])
  })

  test('tell from when to when they are, and that they mean nothing when one of them does', () => {
    const [one, other] = [resultOf({ rows: [] }), resultOf({ rows: [] })]
    expect(mergeResults([one, { ...other, date: '2026-11-20' }]).date).toBe('2026-11-20 to 2026-11-21')
    expect(mergeResults([one, other]).date).toBe('2026-11-21')
    expect(mergeResults([{ ...one, size: 'smoke' }, other]).size).toBe('smoke')
  })

  test('must be of one machine', () => {
    expect(() => mergeResults([resultOf({ rows: [] }), resultOf({ rows: [] }, 4)])).toThrow('two machines')
  })
})

describe('the options', () => {
  const read = (...argv: string[]) => readOptions(argv, '2026-11-21')

  test('name one of three sizes', () => {
    expect(read()?.sizes).toBe(SIZES.default)
    expect(read('--smoke')?.sizes).toBe(SIZES.smoke)
    expect(read('--full', '--only', 'growth')).toMatchObject({ size: 'full', figures: ['growth'], sizes: SIZES.full })
    expect(() => read('--full', '--smoke')).toThrow('two sizes')
  })

  test('write the README from all figures, or from files', () => {
    expect(() => read('--readme', '--only', 'edge')).toThrow('every figure')
    expect(read('--readme', '--from', 'a.json, b.json')).toMatchObject({ readme: true, from: ['a.json', 'b.json'] })
  })
})
