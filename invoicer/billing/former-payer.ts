import { Problem } from '../../schemas/http/problem.ts'

/** What was billed, and the external key of who was issued it, where somebody else pays by now. */
export type OncePaid = { formerPayer?: string | null }

/**
 * What corrects an invoice belongs on one to the same payer: it would else be given to, or taxed by the terms of, another.
 * @throws Problem illegal_state where some of it was issued to who does not pay any more.
 */
export function checkSamePayer(billed: readonly OncePaid[], what: string): void {
  const former = billed.find(({ formerPayer }) => formerPayer != null)?.formerPayer
  if (former == null) return
  throw new Problem(
    'illegal_state',
    `${what} of this period was billed to the customer "${former}", who does not pay any more, and is to be corrected: ` +
      `let "${former}" pay until a run has billed this period, and change who pays behind that.`,
  )
}
