import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText, formatMoney, MoneyText } from '../../../../schemas/money.ts'
import { CreditScope } from '../../../collection/credits/terms.ts'
import type { Gateway } from '../../../collection/payments/gateway.ts'
import { putRule, readRule, removeRule } from '../../../collection/top-ups/change-rule.ts'
import { PER, type TopUpRule } from '../../../collection/top-ups/top-up.ts'
import { type DoorDeps, Id, IdParams, Instant, instantText, instantTextOrNull, Nullable, strict } from '../shapes.ts'
import { newTerms, termsFrom } from './credit-terms.ts'

const customerId = '01890a5d-ac96-774b-bcce-b302099a8050'
const example = {
  customer_id: customerId,
  threshold: '10.00',
  amount: '50.00',
  currency: 'USD',
  most_purchases: 3,
  per: 'month' as const,
  priority: 0,
  expires_after_days: 365,
  scope: null,
  declines: 0,
  retry_at: null,
  suspended_at: null,
  reason: null,
  updated_at: '2023-12-01T00:00:00.000Z',
}
const mostPurchases = Type.Integer({ minimum: 1, maximum: 1_000 })
const per = Type.Enum(PER, { description: "Calendar days, weeks or months in the customer's zone." })
const expiresAfterDays = Nullable(Type.Integer({ minimum: 1, maximum: 36_500 }))

const NewRule = Type.Object(
  {
    threshold: Type.String({
      ...MoneyText,
      description: 'Credit is bought where less is available: the balance without what is spent and not invoiced yet.',
    }),
    amount: Type.String({ ...MoneyText, description: "Of each purchase; above 0, in the customer's currency." }),
    most_purchases: Type.Integer({
      ...mostPurchases,
      description: 'So many at most in a `per`; declined ones left out.',
    }),
    per,
    priority: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000, description: 'As of credit; 0 unless told.' })),
    expires_after_days: Type.Optional(expiresAfterDays),
    scope: newTerms.scope,
  },
  { ...strict, examples: [{ threshold: '10.00', amount: '50.00', most_purchases: 3, per: 'month' }] },
)

const RuleAnswer = Type.Object(
  {
    customer_id: Id,
    threshold: MoneyText,
    amount: MoneyText,
    currency: CurrencyText,
    most_purchases: mostPurchases,
    per,
    priority: Type.Integer(),
    expires_after_days: expiresAfterDays,
    scope: Nullable(CreditScope),
    declines: Type.Integer({ description: 'In a row.' }),
    retry_at: Nullable(Type.String({ ...Instant, description: 'After a decline nothing is bought before then.' })),
    suspended_at: Nullable(
      Type.String({ ...Instant, description: 'After three declines in a row; setting the rule again lifts it.' }),
    ),
    reason: Nullable(Type.String()),
    updated_at: Instant,
  },
  { examples: [example] },
)

type TopUpDeps = DoorDeps & { gateway: Gateway }

const tags = ['credits']
const url = '/api/v1/customers/:id/credit-top-up'

/** Prepaid credit that is bought by itself when it runs low. */
export function creditTopUpsDoor(app: App, deps: TopUpDeps): void {
  app.put(
    url,
    {
      config: { permission: 'billing:credits:create' },
      schema: {
        tags,
        summary: 'Buy credit for a customer whenever it runs low',
        description:
          'The payment gateway is asked within about a minute, once per purchase, and what is paid is credit and a paid ' +
          'invoice at once: neither taxed nor revenue. One is open at a time. After a decline the next one waits a day; ' +
          'after three in a row the rule is suspended, and webhooks with the topic credit.top_up_suspended are told.',
        params: IdParams,
        body: NewRule,
        response: { 200: RuleAnswer },
      },
    },
    async ({ caller, params, body }) => {
      const input = {
        ...{ customer: params.id, threshold: body.threshold, amount: body.amount, per: body.per },
        ...{ mostPurchases: body.most_purchases, priority: body.priority ?? 0 },
        ...{ expiresAfterDays: body.expires_after_days ?? null, scope: termsFrom(body).scope },
      }
      const { name } = deps.gateway
      return ruleAnswer(await deps.transact(caller.tenantId, (tx) => putRule(tx, input, deps, name)))
    },
  )
  app.get(
    url,
    {
      config: { permission: 'billing:credits:read' },
      schema: {
        tags,
        summary: 'Read when credit is bought for a customer by itself',
        params: IdParams,
        response: { 200: RuleAnswer },
      },
    },
    async ({ caller, params }) => ruleAnswer(await deps.transact(caller.tenantId, (tx) => readRule(tx, params.id))),
  )
  app.delete(
    url,
    {
      config: { permission: 'billing:credits:create' },
      schema: {
        tags,
        summary: 'Buy no more credit for a customer by itself; a purchase that is open goes on',
        params: IdParams,
        response: {
          200: Type.Object(
            { customer_id: Id, deleted: Type.Literal(true) },
            { examples: [{ customer_id: customerId, deleted: true }] },
          ),
        },
      },
    },
    async ({ caller, params }) => {
      const id = await deps.transact(caller.tenantId, (tx) => removeRule(tx, params.id, deps))
      return { customer_id: id, deleted: true as const }
    },
  )
}

function ruleAnswer(rule: TopUpRule): Static<typeof RuleAnswer> {
  return {
    customer_id: rule.customerId,
    threshold: formatMoney(rule.thresholdMinor, rule.currency),
    amount: formatMoney(rule.amountMinor, rule.currency),
    currency: rule.currency,
    most_purchases: rule.mostPurchases,
    per: rule.per,
    priority: rule.priority,
    expires_after_days: rule.expiresAfterDays,
    scope: rule.scope,
    declines: rule.declines,
    retry_at: instantTextOrNull(rule.retryAtMs),
    suspended_at: instantTextOrNull(rule.suspendedAtMs),
    reason: rule.reason,
    updated_at: instantText(rule.updatedAtMs),
  }
}
