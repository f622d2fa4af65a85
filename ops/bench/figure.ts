import type { StackEnv } from '../stack/stack.ts'
import type { Mode, Row } from './measure.ts'
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
export type Figure = (input: FigureInput) => Promise<Row[]>

/** In the order in which an event passes. */
export const FIGURES = ['edge', 'log', 'insert', 'pump', 'invoicer'] as const
export type FigureName = (typeof FIGURES)[number]

/** Those that have no embedded side: there the pump shares its process with everything else. */
export const SERVERS_ONLY: readonly FigureName[] = ['pump']

/** The servers of an input that must have them. */
export function serversIn({ figure, servers }: FigureInput): BenchServers {
  if (!servers) throw new Error(`The figure '${figure}' needs servers`)
  return servers
}
