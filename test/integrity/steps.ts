import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RunStep } from '../../invoicer/billing/run/steps.ts'
import type { Role } from '../../ops/cli/settings.ts'

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
/** What there is only where the store is another process. */
export const SERVER_STEPS = {
  'append-unseen': 'ingest, when the broker gets the record and its acknowledgement is not yet seen',
  'insert-under-way': 'aggregator, while the server works on the insert of the events',
} as const
export type PortStep = keyof typeof PORT_STEPS | keyof typeof SERVER_STEPS
export type Step = PortStep | `run:${RunStep}`

/** Bugs that a test puts between the product and its ports or stores, to see that the checks find them. */
export const PLANTS = [
  'acknowledge-early',
  'progress-first',
  'count-copies',
  'draw-again',
  'new-payment-keys',
  'resume-at-end',
  'heads-first',
  'every-run',
] as const
export type Plant = (typeof PLANTS)[number]

/** What a test tells the process that it starts, in the variable TALLYLINE_TEST as JSON. */
export type TestOrders = {
  /** Where the process looks for the step to die at, and leaves the marker that it got there. */
  control: string
  /** The file in which the gateway books what it was asked. */
  book: string
  /** All when not given; then it migrates too. */
  roles?: Role[]
  plant?: Plant
  /** What its clock says as it begins; the machine's if not given. It goes on from there. */
  beginsAtMs?: number
}

const armedFile = (control: string) => join(control, 'armed')
const markerFile = (control: string) => join(control, 'reached')

export type Place = {
  step: Step
  /** It is reached for the nth time from now on; the first if not given. */
  nth?: number
  /** Counted is only what happens for this tenant. Rebuilds tell it. */
  tenantId?: number
}

/** Lets the running process die at a place. */
export function arm(control: string, { step, nth = 1, tenantId }: Place): void {
  order(control, `die ${step} ${nth} ${tenantId ?? 'any'}`)
}

/** Lets the running process wait when it reaches the step, until it is told anything else. */
export function hold(control: string, step: Step): void {
  order(control, `wait ${step}`)
}

/** Nothing happens at any step from now on; whoever waits goes on. */
export function release(control: string): void {
  order(control, '')
}

/** The step that the killed process reached, or at which it waits; undefined if it died elsewhere. */
export function reached(control: string): string | undefined {
  return existsSync(markerFile(control)) ? readFileSync(markerFile(control), 'utf8') : undefined
}

function order(control: string, text: string): void {
  rmSync(markerFile(control), { force: true })
  // By a rename: the process may look at any moment.
  writeFileSync(`${armedFile(control)}-new`, text)
  renameSync(`${armedFile(control)}-new`, armedFile(control))
}

export type Reach = (step: Step, tenantId?: unknown) => void
/** In the process. */
export type StepWatch = {
  /** Dies by kill -9 if the step is armed and its time has come. Nothing runs after that. */
  reach: Reach
  /** Waits if the step is held. */
  pause: (step: Step) => Promise<void>
  armed: (step: Step) => boolean
}

const LOOK_EVERY_MS = 20

export function watchSteps(control: string): StepWatch {
  const times = new Map<Step, number>()
  const orders = () => (existsSync(armedFile(control)) ? readFileSync(armedFile(control), 'utf8') : '')
  const armed = (step: Step) => orders().startsWith(`die ${step} `)
  return {
    armed,
    reach: (step, tenantId) => {
      const [, armedStep, nth, tenant] = orders().split(' ')
      if (armedStep !== step || !armed(step) || (tenant !== 'any' && tenant !== String(tenantId))) return
      const time = (times.get(step) ?? 0) + 1
      times.set(step, time)
      if (time < Number(nth)) return
      release(control)
      writeFileSync(markerFile(control), step)
      process.kill(process.pid, 'SIGKILL')
    },
    pause: async (step) => {
      const held = `wait ${step}`
      if (orders() !== held) return
      writeFileSync(markerFile(control), step)
      while (orders() === held) await sleep(LOOK_EVERY_MS)
    },
  }
}
