import type { RunDeps } from '../billing/run/run-billing.ts'
import type { Means } from '../transaction.ts'
import { applyBalance } from './balance/apply-balance.ts'
import { giveBack } from './credit-notes/give-back.ts'
import { drawCredit } from './credits/draw-credit.ts'

/** What billing is handed of collection, which lies above it: each works in the transaction that needs it. */
export function collectionForBilling(means: Means): Pick<RunDeps, 'drawCredit' | 'applyBalance' | 'giveBack'> {
  return {
    drawCredit: (tx, invoices, atMs) => drawCredit(tx, means, invoices, atMs),
    applyBalance: (tx, invoices, creditOf, leastDue, atMs) =>
      applyBalance(tx, means, { invoices, creditOf, leastDue }, atMs),
    giveBack: (tx, wanted, atMs) => giveBack(tx, means, wanted, atMs),
  }
}
