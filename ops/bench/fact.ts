import type { Mode, Row } from './measure.ts'

/** A figure without a floor beside it: a time, a size, how far something grew. */
export type Fact = {
  mode: Mode
  figure: string
  what: string
  value: number
  unit: string
  /** In words, shown beside the value and never asserted. */
  target?: string
  /** Under what the value was taken, and what it was made from. */
  detail?: Record<string, number | string | readonly number[]>
}

/** What a figure answers. */
export type Line = Row | Fact

export function isFact(line: Line): line is Fact {
  return 'what' in line
}
