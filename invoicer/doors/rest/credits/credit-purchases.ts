import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText, formatMoney, MoneyText } from '../../../../schemas/money.ts'
import type { Gateway } from '../../../collection/payments/gateway.ts'
import { buyCredit } from '../../../collection/top-ups/buy-credit.ts'
import { readPurchases } from '../../../collection/top-ups/change-rule.ts'
import type { Purchase } from '../../../collection/top-ups/top-up.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantText,
  instantTextOrNull,
  Key,
  listOf,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
} from '../shapes.ts'
import { newTerms, termsFrom } from './credit-terms.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8061',
  external_key: null,
  amount: '50.00',
  currency: 'USD',
  available: '8.20',
  state: 'paid' as const,
  gateway: 'manual',
  reference: 'manual:01890a5d-ac96-774b-bcce-b302099a8061',
  reason: null,
  invoice_id: '01890a5d-ac96-774b-bcce-b302099a8057',
  created_at: '2023-12-01T00:00:00.000Z',
  settled_at: '2023-12-01T00:00:01.000Z',
}

const NewPurchase = Type.Object(
  {
    external_key: Type.String({
      ...Key,
      description: "Unique of the customer's: the same again answers the stored one.",
    }),
    amount: Type.String({ ...MoneyText, description: "Above 0, in the customer's currency." }),
    priority: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000, description: 'As of credit; 0 unless told.' })),
    expires_after_days: Type.Optional(
      Nullable(Type.Integer({ minimum: 1, maximum: 36_500, description: 'After it is paid; never unless told.' })),
    ),
    scope: newTerms.scope,
  },
  { ...strict, examples: [{ external_key: 'top-up-7', amount: '50.00' }] },
)

const PurchaseAnswer = Type.Object(
  {
    id: Id,
    external_key: Nullable(Type.String({ description: 'null: a rule bought it.' })),
    amount: MoneyText,
    currency: CurrencyText,
    available: Type.String({ ...MoneyText, description: 'When it was opened.' }),
    state: Type.Enum(['created', 'paid', 'declined']),
    gateway: Type.String(),
    reference: Nullable(Type.String()),
    reason: Nullable(Type.String()),
    invoice_id: Nullable(Type.String({ format: 'uuid', description: 'Issued when it is paid; null until then.' })),
    created_at: Instant,
    settled_at: Nullable(Instant),
  },
  { examples: [example] },
)

const tags = ['credits']
const url = '/api/v1/customers/:id/credit-purchases'

/** Prepaid credit that is bought, by a rule or on request. */
export function creditPurchasesDoor(app: App, deps: DoorDeps & { gateway: Gateway }): void {
  app.post(
    url,
    {
      config: { permission: 'billing:credits:create' },
      schema: {
        tags,
        summary: 'Buy credit for a customer; the same again answers the stored purchase',
        description:
          'The payment gateway is asked within about a minute. What is paid is credit and a paid invoice at once, neither ' +
          'taxed nor revenue; what is declined is neither. One purchase is open at a time. A credit note on the invoice ' +
          'takes back what is left of the credit.',
        params: IdParams,
        body: NewPurchase,
        response: { 200: PurchaseAnswer, 201: PurchaseAnswer },
      },
    },
    async ({ caller, params, body }, reply) => {
      const input = {
        ...{ customer: params.id, externalKey: body.external_key, amount: body.amount, priority: body.priority ?? 0 },
        ...{ expiresAfterDays: body.expires_after_days ?? null, scope: termsFrom(body).scope },
      }
      const { name } = deps.gateway
      const { purchase, created } = await deps.transact(caller.tenantId, (tx) => buyCredit(tx, input, deps, name))
      return reply.code(created ? 201 : 200).send(purchaseAnswer(purchase))
    },
  )
  app.get(
    url,
    {
      config: { permission: 'billing:credits:read' },
      schema: {
        tags,
        summary: 'List what credit was bought for a customer, and how that ended',
        params: IdParams,
        querystring: Type.Object(pageMembers, strict),
        response: { 200: listOf('purchases', PurchaseAnswer, example) },
      },
    },
    async ({ caller, params, query }) => {
      const page = pageOf(query)
      const purchases = await deps.transact(caller.tenantId, (tx) => readPurchases(tx, params.id, page))
      return { purchases: purchases.map(purchaseAnswer), next: nextOf(purchases, page) }
    },
  )
}

function purchaseAnswer(purchase: Purchase): Static<typeof PurchaseAnswer> {
  return {
    id: purchase.id,
    external_key: purchase.externalKey,
    amount: formatMoney(purchase.amountMinor, purchase.currency),
    currency: purchase.currency,
    available: formatMoney(purchase.availableMinor, purchase.currency),
    state: purchase.state,
    gateway: purchase.gateway,
    reference: purchase.reference,
    reason: purchase.reason,
    invoice_id: purchase.invoiceId,
    created_at: instantText(purchase.createdAtMs),
    settled_at: instantTextOrNull(purchase.settledAtMs),
  }
}
