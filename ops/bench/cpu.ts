import { readdirSync, readFileSync } from 'node:fs'

/** CPU time in microseconds, user and system, used so far by somebody. */
export type Gauge = () => number | Promise<number>

/** This process with all its threads. */
export function ownCpuUs(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

/**
 * The thread that runs our JavaScript, without those of libuv, V8's helpers and native engines. Node 20 does not tell
 * it, Linux does.
 */
export function jsThreadCpuUs(): number {
  return Number(linux(`/proc/self/task/${process.pid}/schedstat`).split(' ')[0]) / 1_000
}

/** Linux counts other processes' time in ticks of 10 ms. */
const TICK_US = 10_000

/**
 * Another process and its children, those that have ended included: Postgres works in one process a connection.
 * Undefined where the process cannot be seen, as in a container.
 */
export function treeGauge(pid: number | undefined): Gauge | undefined {
  if (pid === undefined || process.platform !== 'linux') return undefined
  return () => ticksOf(pid, childrenByParent()) * TICK_US
}

function ticksOf(pid: number, children: ReadonlyMap<number, readonly number[]>): number {
  const own = statOf(pid)
  if (!own) return 0
  const below = (children.get(pid) ?? []).map((child) => ticksOf(child, children))
  return below.reduce((sum, ticks) => sum + ticks, own.ticks)
}

function childrenByParent(): Map<number, number[]> {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    const parent = Number.isInteger(pid) ? statOf(pid)?.parent : undefined
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  return children
}

/** Fields after the command, which stands in parentheses and may hold anything. Undefined when the process is gone. */
function statOf(pid: number): { parent: number; ticks: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    // utime, stime, and those of children that have ended and were waited for.
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
    return { parent: Number(fields[1]), ticks }
  } catch {
    return undefined
  }
}

function linux(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new Error(`The CPU time of one thread is read from Linux's /proc, and ${file} cannot be read`, { cause })
  }
}
