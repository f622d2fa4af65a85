import type { StackEnv } from '../stack/stack.ts'
import type { Line } from './fact.ts'
import type { Mode } from './measure.ts'
import type { Sizes } from './sizes.ts'

/** The servers of a bench, and their processes where they can be seen. */
export type BenchServers = { env: Required<StackEnv>; pids: { clickhouse?: number; postgres?: number } }

export type FigureInput = {
  figure: string
  mode: Mode
  sizes: Sizes
  /** Its own, removed afterwards; what is embedded lies here. */
  folder: string
  /** Undefined when everything is embedded. */
  servers: BenchServers | undefined
}
export type Figure = (input: FigureInput) => Promise<Line[]>

/** In the order in which an event passes, then what only shows over time or over history. */
export const FIGURES = [
  'edge',
  'quota',
  'log',
  'insert',
  'pump',
  'invoicer',
  'billing-run',
  'on-demand',
  'latency',
  'late',
  'opaque',
  'freshness',
  'memory',
  'growth',
  'usage',
] as const
export type FigureName = (typeof FIGURES)[number]

/** Those that have no embedded side: there the aggregator shares its process with everything else. */
export const SERVERS_ONLY: readonly FigureName[] = ['pump', 'late', 'opaque', 'freshness']
/** Those under a load that comes as a clock says. In a smoke run they share a process, and in it a world. */
export const PACED: readonly FigureName[] = ['latency', 'late', 'opaque', 'freshness', 'memory']
/** Those about one store with much in it: the embedded one is the one that the product itself has to keep quick. */
export const EMBEDDED_ONLY: readonly FigureName[] = ['billing-run', 'on-demand', 'growth', 'usage']

/** The servers of an input that must have them. */
export function serversIn({ figure, servers }: FigureInput): BenchServers {
  if (!servers) throw new Error(`The figure '${figure}' needs servers`)
  return servers
}
