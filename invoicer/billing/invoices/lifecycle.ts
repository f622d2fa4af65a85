import { Problem } from '../../../schemas/http/problem.ts'

/**
 * `finalised`: issued, and due. `paid`: nothing is due any more; an invoice of nothing counts as paid. `void`: it never
 * was, but its number stays. `uncollectible`: nobody expects it to be paid any more; it may be all the same. `suppressed`:
 * it billed nothing, has no number and is shown to nobody, but its period counts as billed. `part`: it is gathered into one
 * invoice for its payer, or waits for that within its run; what is done is done to that one, and void they are together.
 */
export const INVOICE_STATES = ['finalised', 'paid', 'void', 'uncollectible', 'suppressed', 'part'] as const
export type InvoiceState = (typeof INVOICE_STATES)[number]
/** `reissue`: void, and the next run bills its period again. */
export const INVOICE_CHANGES = ['pay', 'void', 'reissue', 'write_off'] as const
export type InvoiceChange = (typeof INVOICE_CHANGES)[number]

/** Which change is legal in which state, and the state after it. Whatever does not stand here is refused. */
export const INVOICE_TRANSITIONS: Readonly<
  Record<InvoiceState, Readonly<Partial<Record<InvoiceChange, InvoiceState>>>>
> = {
  finalised: { pay: 'paid', void: 'void', reissue: 'void', write_off: 'uncollectible' },
  // Where no money was moved: it was nothing, or credit and balance paid it.
  paid: { void: 'void', reissue: 'void' },
  void: { reissue: 'void' },
  uncollectible: { pay: 'paid', void: 'void', reissue: 'void' },
  suppressed: { void: 'void', reissue: 'void' },
  part: {},
}

const REFUSED: Readonly<Record<InvoiceChange, string>> = {
  pay: 'There is nothing to pay.',
  void: 'It is void already.',
  reissue: 'It cannot be issued again.',
  write_off: 'Only what is finalised and not paid can be written off.',
}

/** @throws Problem illegal_state for a change that the table does not have. */
export function invoiceStateAfter(state: InvoiceState, change: InvoiceChange): InvoiceState {
  const next = INVOICE_TRANSITIONS[state][change]
  if (next !== undefined) return next
  throw new Problem('illegal_state', `The invoice is ${state}. ${REFUSED[change]}`)
}

/** The states from which a change leads to another one, for statements that make it of many. */
export function statesBefore(change: InvoiceChange): InvoiceState[] {
  return INVOICE_STATES.filter((state) => (INVOICE_TRANSITIONS[state][change] ?? state) !== state)
}
