import type { CommitmentWindow } from './commitment-window.ts'
import type { Draw } from './draw.ts'
import type { StoredDraw } from './draws.postgres.ts'

/** The commitment by which a line was billed, what was drawn of it before, and what the line is to have drawn. */
export type DrawnThen = { window: CommitmentWindow; draws: readonly Draw[]; own: StoredDraw }
/** Where a line stands, and whose charge it bills. */
type Place = {
  invoiceId: string
  lineIndex: number
  isAdjustment: boolean
  planId: string
  chargeKey: string
  startMs: number
}

/** Of what a subscription drew, in order; undefined: the line drew nothing. */
export function drawnThen(drawn: readonly StoredDraw[], place: Place): DrawnThen | undefined {
  const own = drawn.find((draw) => (place.isAdjustment ? isOfAdjustment(draw, place) : isOfInvoice(draw, place)))
  if (own === undefined) return undefined
  const { window, committedMinor, servedUntilMs, ordinal } = own
  const draws = drawn.filter((draw) => draw.ordinal < ordinal)
  return { window: { ...window, committedMinor, servedUntilMs }, draws, own }
}

function isOfAdjustment({ adjustment }: StoredDraw, { invoiceId, lineIndex }: Place): boolean {
  return adjustment?.invoiceId === invoiceId && adjustment.lineIndex === lineIndex
}

/** A line and its true-up are one. */
function isOfInvoice(draw: StoredDraw, { invoiceId, planId, chargeKey, startMs }: Place): boolean {
  const isCharge = draw.planId === planId && draw.chargeKey === chargeKey && draw.period.startMs === startMs
  return draw.invoiceId === invoiceId && !draw.isVoid && isCharge
}
