import type { Gauge } from './cpu.ts'

export type Mode = 'embedded' | 'servers'

/** What a process used while it did the work of one round. */
export type Reading = { cpuUs: number; wallMs: number }
/** One side's round: so many units (events, requests, invoices), and what each named process used for them. */
export type Sample = { units: number; readings: Record<string, Reading> }
/** Both sides do the same work, with the same data. */
export type Round = { product(): Promise<Sample>; floor(): Promise<Sample> }

/** Shown beside the figure, never asserted: a busy machine would decide. */
export type Target = { cpuUsAtMost: number } | { ratioAtMost: number } | { perSecondAtLeast: number }

export type Subject = {
  mode: Mode
  figure: string
  /** What the floor is. */
  floor: string
  unit: 'event' | 'request' | 'invoice'
  /** By the name of the process. */
  targets?: Record<string, Target>
}

/** The middle of several rounds, and what lay around it. */
export type Side = { cpuUs: number; lowestUs: number; highestUs: number; perSecond: number }

/** One line of the result: a figure as one process shows it. All times are of one unit. */
export type Row = Omit<Subject, 'targets'> & {
  process: string
  unitsPerRound: number
  rounds: number
  product: Side
  floorSide: Side
  /** The middle of the rounds' ratios: what disturbs a round disturbs both of its sides. Null: the floor is too little to be seen. */
  ratio: number | null
  target: Target | undefined
  samples: { product: Reading & { units: number }; floor: Reading & { units: number } }[]
}

/** Starts measuring; asked how much was used since then, as often as one likes. What garbage came before is not ours. */
export async function startSample(gauges: Record<string, Gauge>): Promise<(units: number) => Promise<Sample>> {
  globalThis.gc?.()
  const names = Object.keys(gauges)
  const read = () => Promise.all(names.map(async (name) => gauges[name]?.() ?? 0))
  const before = await read()
  const startedMs = performance.now()
  return async (units) => {
    const wallMs = performance.now() - startedMs
    const now = await read()
    const readings = names.map((name, index) => [name, { cpuUs: (now[index] ?? 0) - (before[index] ?? 0), wallMs }])
    return { units, readings: Object.fromEntries(readings) as Record<string, Reading> }
  }
}

export async function sample(
  gauges: Record<string, Gauge>,
  units: number,
  work: () => Promise<unknown>,
): Promise<Sample> {
  const used = await startSample(gauges)
  await work()
  return used(units)
}

export type Repetition = { warmUps: number; rounds: number }

/** Product, floor, product, floor, …: whatever changes while we measure changes for both. */
export async function interleave(
  subject: Subject,
  { warmUps, rounds }: Repetition,
  prepare: () => Promise<Round>,
): Promise<Row[]> {
  const pairs: { product: Sample; floor: Sample }[] = []
  for (let round = -warmUps; round < rounds; round++) {
    const sides = await prepare()
    const pair = { product: await sides.product(), floor: await sides.floor() }
    if (round >= 0) pairs.push(pair)
  }
  const processes = Object.keys(pairs[0]?.product.readings ?? {})
  return processes.map((name) => rowOf(subject, name, pairs))
}

function rowOf({ targets, ...subject }: Subject, process: string, pairs: { product: Sample; floor: Sample }[]): Row {
  const samples = pairs.map(({ product, floor }) => ({ product: pick(product, process), floor: pick(floor, process) }))
  const seen = samples.filter((pair) => pair.floor.cpuUs > 0)
  return {
    ...subject,
    process,
    unitsPerRound: samples[0]?.product.units ?? 0,
    rounds: samples.length,
    product: sideOf(samples.map((pair) => pair.product)),
    floorSide: sideOf(samples.map((pair) => pair.floor)),
    ratio: seen.length > 0 ? median(seen.map((pair) => perUnitUs(pair.product) / perUnitUs(pair.floor))) : null,
    target: targets?.[process],
    samples,
  }
}

type Picked = Reading & { units: number }

function pick({ units, readings }: Sample, process: string): Picked {
  const reading = readings[process]
  if (!reading) throw new Error(`A side was measured without the process '${process}': this is a bug in the bench`)
  return { units, ...reading }
}

function sideOf(samples: readonly Picked[]): Side {
  const each = samples.map(perUnitUs)
  return {
    cpuUs: median(each),
    lowestUs: Math.min(...each),
    highestUs: Math.max(...each),
    perSecond: median(samples.map(({ units, wallMs }) => (units / wallMs) * 1_000)),
  }
}

function perUnitUs({ cpuUs, units }: Picked): number {
  return cpuUs / units
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  const [low = Number.NaN, high = Number.NaN] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]]
  return (low + high) / 2
}
