import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RunStep } from '../../invoicer/billing/run/steps.ts'

/** Where a wrapped port kills its own process, beside the steps of a billing run. In the order of an event's way. */
export const PORT_STEPS = {
  'append-begins': 'ingest, before the append',
  'append-durable': 'ingest, when the append is durable and not yet answered',
  'quota-drawn': 'quota, after the draw and before the append',
  'records-read': 'aggregator, after reading from the log',
  'events-inserted': 'aggregator, when the events are stored and not yet marked',
  'marks-inserted': 'aggregator, when the marks are stored and not yet the ranges',
  'ranges-inserted': 'aggregator, when the ranges are stored',
  'rollup-written': 'rebuild, when the rows are written and not yet their heads',
  'heads-written': 'rebuild, when the heads are written',
  'charge-begins': 'invoicer, before the gateway is asked',
  'charge-done': 'invoicer, when the gateway has charged and nobody has noted it',
} as const
export type PortStep = keyof typeof PORT_STEPS
export type Step = PortStep | `run:${RunStep}`

/** Bugs that a test puts between the product and its ports or stores, to see that the checks find them. */
export const PLANTS = ['acknowledge-early', 'progress-first', 'count-copies', 'draw-again', 'new-payment-keys'] as const
export type Plant = (typeof PLANTS)[number]

/** What a test tells the process that it starts, in the variable TALLYLINE_TEST as JSON. */
export type TestOrders = {
  /** Where the process looks for the step to die at, and leaves the marker that it got there. */
  control: string
  plant?: Plant
}

const armedFile = (control: string) => join(control, 'armed')
const markerFile = (control: string) => join(control, 'reached')

/** Lets the running process die when it reaches the step for the nth time from now on. */
export function arm(control: string, step: Step, nth = 1): void {
  rmSync(markerFile(control), { force: true })
  writeFileSync(armedFile(control), `${step} ${nth}`)
}

/** The step that the killed process reached; undefined if it died elsewhere. */
export function reached(control: string): string | undefined {
  return existsSync(markerFile(control)) ? readFileSync(markerFile(control), 'utf8') : undefined
}

/** In the process: dies by kill -9 if the step is armed and its time has come. Nothing runs after that. */
export function createReach(control: string): (step: Step) => void {
  const times = new Map<Step, number>()
  return (step) => {
    if (!existsSync(armedFile(control))) return
    const [armed, nth] = readFileSync(armedFile(control), 'utf8').split(' ')
    if (armed !== step) return
    const time = (times.get(step) ?? 0) + 1
    times.set(step, time)
    if (time < Number(nth)) return
    rmSync(armedFile(control))
    writeFileSync(markerFile(control), step)
    process.kill(process.pid, 'SIGKILL')
  }
}
