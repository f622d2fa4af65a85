import { Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText, formatMoney, MoneyText } from '../../../../schemas/money.ts'
import { readBalance } from '../../../collection/balance/read-balance.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantText,
  Next,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
} from '../shapes.ts'

const example = {
  balances: [{ currency: 'USD', balance: '25.00' }],
  carried_forward: [{ currency: 'USD', amount: '1.50' }],
  entries: [
    {
      id: '01890a5d-ac96-774b-bcce-b302099a8062',
      kind: 'credit_note' as const,
      amount: '40.00',
      balance: '40.00',
      currency: 'USD',
      invoice_id: null,
      credit_note_id: '01890a5d-ac96-774b-bcce-b302099a8061',
      at: '2023-12-05T00:00:00.000Z',
    },
    {
      id: '01890a5d-ac96-774b-bcce-b302099a8063',
      kind: 'applied' as const,
      amount: '-15.00',
      balance: '25.00',
      currency: 'USD',
      invoice_id: '01890a5d-ac96-774b-bcce-b302099a8057',
      credit_note_id: null,
      at: '2024-01-01T01:00:00.000Z',
    },
  ],
  next: null,
}

const BalanceAnswer = Type.Object(
  {
    balances: Type.Array(Type.Object({ currency: CurrencyText, balance: MoneyText }), {
      description: 'Never below 0; none where nothing was ever given.',
    }),
    carried_forward: Type.Array(Type.Object({ currency: CurrencyText, amount: MoneyText }), {
      description: 'What was too little to be paid, and is due with the next invoice in the currency.',
    }),
    entries: Type.Array(
      Type.Object({
        id: Id,
        kind: Type.Enum(['applied', 'negative_invoice', 'credit_note', 'adjustment', 'void']),
        amount: Type.String({ ...MoneyText, description: 'Below 0 where it was applied to an invoice.' }),
        balance: Type.String({ ...MoneyText, description: 'The balance right behind it.' }),
        currency: CurrencyText,
        invoice_id: Nullable(Id),
        credit_note_id: Nullable(Id),
        at: Instant,
      }),
    ),
    next: Next,
  },
  { examples: [example] },
)

/** What a customer has to its credit: it pays the next invoices, behind prepaid credit. */
export function balanceDoor(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/customers/:id/balance',
    {
      config: { permission: 'billing:invoices:read' },
      schema: {
        tags: ['customers'],
        summary: "Read a customer's balance and how it came",
        params: IdParams,
        querystring: Type.Object(pageMembers, strict),
        response: { 200: BalanceAnswer },
      },
    },
    async ({ caller, params, query }) => {
      const page = pageOf(query)
      const { balances, carried, entries } = await deps.transact(caller.tenantId, (tx) =>
        readBalance(tx, params.id, page),
      )
      return {
        balances: balances.map(({ currency, balanceMinor }) => ({
          currency,
          balance: formatMoney(balanceMinor, currency),
        })),
        carried_forward: carried.map(({ currency, amountMinor }) => ({
          currency,
          amount: formatMoney(amountMinor, currency),
        })),
        entries: entries.map((entry) => ({
          id: entry.id,
          kind: entry.kind,
          amount: formatMoney(entry.amountMinor, entry.currency),
          balance: formatMoney(entry.balanceMinor, entry.currency),
          currency: entry.currency,
          invoice_id: entry.invoiceId,
          credit_note_id: entry.creditNoteId,
          at: instantText(entry.atMs),
        })),
        next: nextOf(entries, page),
      }
    },
  )
}
