import type { StackEnv } from '../stack/stack.ts'
import type { Fact } from './fact.ts'
import { type Machine, machineText } from './machine.ts'
import type { Mode, Row, Side, Target } from './measure.ts'
import type { SizeName, Sizes } from './sizes.ts'

/** What --json prints: everything the table is made of, and every round. */
export type Result = {
  date: string
  size: SizeName
  sizes: Sizes
  machine: Machine
  /** How the servers ran, where there were any: in containers, or natively with a front over chDB for ClickHouse. */
  stack: { by: 'docker' | 'native'; servers: (keyof StackEnv)[] } | undefined
  rows: Row[]
  /** Absent in results of before there were any. */
  facts?: Fact[]
}

const TITLES: Record<Mode, string> = { embedded: 'Embedded stores', servers: 'Servers' }
const HEAD = '| figure | process | CPU | floor | ratio | rate | floor’s rate | target |'
const FACT_HEAD = '| figure | what | value | target |'

/** As Markdown. */
export function tableOf(result: Result): string {
  const { date, size, sizes, machine, stack, rows, facts = [] } = result
  const modes = [...new Set([...rows, ...facts].map((line) => line.mode))]
  const tables = modes.map((mode) => {
    const by = mode === 'servers' && stack ? ` (${stack.by === 'docker' ? 'in containers' : NATIVE})` : ''
    const parts = [
      tableUnder(HEAD, rows.filter((row) => row.mode === mode).map(lineOf)),
      tableUnder(FACT_HEAD, facts.filter((fact) => fact.mode === mode).map(factLine)),
    ]
    return [`**${TITLES[mode]}**${by}`, ...parts.filter((part) => part !== '')].join('\n\n')
  })
  const floors = [...new Set(rows.map((row) => `${row.figure.replace(/,.*/, '')}: ${row.floor}`))]
  const smoke = size === 'smoke' ? 'Tiny sizes, to show that the tool works: these figures mean nothing.\n\n' : ''
  const taken = `${date}, ${machineText(machine)}; ${sizes.rounds} rounds of each side in turn, medians.`
  const explained = floors.length > 0 ? `\n\nFloors: ${floors.join('; ')}.` : ''
  return `${smoke}${taken}\n\n${tables.join('\n\n')}${explained}\n`
}
const NATIVE = 'on this machine; in ClickHouse’s place an HTTP front over chDB'

/** Several runs as one: each figure from the last of them that has it. They must be of one machine. */
export function mergeResults(results: readonly Result[]): Result {
  const [first] = results
  if (!first) throw new Error('There is no result to put together')
  const other = results.find(({ machine }) => machineText(machine) !== machineText(first.machine))
  if (other) throw new Error(`Figures of two machines do not compare: ${machineText(other.machine)}`)
  const lastWith = new Map<string, Result>()
  const keyOf = (line: { mode: Mode; figure: string }) => `${line.mode} ${line.figure}`
  for (const one of results) for (const line of [...one.rows, ...(one.facts ?? [])]) lastWith.set(keyOf(line), one)
  const kept = <T extends { mode: Mode; figure: string }>(of: (one: Result) => T[]) =>
    results.flatMap((one) => of(one).filter((line) => lastWith.get(keyOf(line)) === one))
  const last = results.at(-1) ?? first
  const stack = results.map((one) => one.stack).find((one) => one !== undefined)
  const dates = [...new Set(results.map((one) => one.date))].sort()
  const date = dates.length > 1 ? `${dates[0]} to ${dates.at(-1)}` : last.date
  const size = results.some((one) => one.size === 'smoke') ? 'smoke' : last.size
  return { ...last, date, size, stack, rows: kept((one) => one.rows), facts: kept((one) => one.facts ?? []) }
}

function tableUnder(head: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : [head, head.replace(/[^|]+/g, '---'), ...lines].join('\n')
}

function factLine({ figure, what, value, unit, target }: Fact): string {
  return `| ${figure} | ${what} | ${digits(value)} ${unit} | ${target ?? ''} |`
}

function lineOf(row: Row): string {
  const { figure, process, product, floorSide, ratio, unit, target } = row
  const cells = [
    figure,
    process,
    `${time(product.cpuUs)} ${spread(product)}`,
    time(floorSide.cpuUs),
    ratio === null ? '' : `${digits(ratio)}×`,
    `${rate(product)} ${unit}s/s`,
    `${rate(floorSide)}/s`,
    target ? targetText(target) : '',
  ]
  return `| ${cells.join(' | ')} |`
}

function targetText(target: Target): string {
  if ('cpuUsAtMost' in target) return `≤ ${target.cpuUsAtMost} µs`
  if ('ratioAtMost' in target) return `≤ ${target.ratioAtMost}×`
  return `≥ ${target.perSecondAtLeast.toLocaleString('en')}/s`
}

function time(us: number): string {
  return `${digits(us)} µs`
}

function spread({ lowestUs, highestUs }: Side): string {
  return `(${digits(lowestUs)}–${digits(highestUs)})`
}

function rate({ perSecond }: Side): string {
  return Number(perSecond.toPrecision(2)).toLocaleString('en')
}

/** Two digits that count; more would promise too much. */
function digits(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(2)))
}
