import type { StackEnv } from '../stack/stack.ts'
import { type Machine, machineText } from './machine.ts'
import type { Mode, Row, Side, Target } from './measure.ts'
import type { Sizes } from './sizes.ts'

/** What --json prints: everything the table is made of, and every round. */
export type Result = {
  date: string
  size: 'full' | 'smoke'
  sizes: Sizes
  machine: Machine
  /** How the servers ran, where there were any: in containers, or natively with a front over chDB for ClickHouse. */
  stack: { by: 'docker' | 'native'; servers: (keyof StackEnv)[] } | undefined
  rows: Row[]
}

const TITLES: Record<Mode, string> = { embedded: 'Embedded stores', servers: 'Servers' }
const HEAD = '| figure | process | CPU | floor | ratio | rate | floor’s rate | target |'

/** As Markdown. */
export function tableOf(result: Result): string {
  const { date, size, sizes, machine, stack, rows } = result
  const modes = [...new Set(rows.map((row) => row.mode))]
  const tables = modes.map((mode) => {
    const by = mode === 'servers' && stack ? ` (${stack.by === 'docker' ? 'in containers' : NATIVE})` : ''
    const lines = rows.filter((row) => row.mode === mode).map(lineOf)
    return [`**${TITLES[mode]}**${by}`, '', HEAD, HEAD.replace(/[^|]+/g, '---'), ...lines].join('\n')
  })
  const floors = [...new Set(rows.map((row) => `${row.figure.replace(/,.*/, '')}: ${row.floor}`))]
  const smoke = size === 'smoke' ? 'Tiny sizes, to show that the tool works: these figures mean nothing.\n\n' : ''
  const taken = `${date}, ${machineText(machine)}; ${sizes.rounds} rounds of each side in turn, medians.`
  return `${smoke}${taken}\n\n${tables.join('\n\n')}\n\nFloors: ${floors.join('; ')}.\n`
}
const NATIVE = 'on this machine; in ClickHouse’s place an HTTP front over chDB'

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
