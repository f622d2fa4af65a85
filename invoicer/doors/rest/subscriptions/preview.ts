import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { formatMoney, MoneyText } from '../../../../schemas/money.ts'
import { formatQuantity } from '../../../../schemas/quantity.ts'
import type { PhaseChange } from '../../../agreements/subscriptions/change-subscription.ts'
import { countedIn } from '../../../billing/counted.ts'
import type { Line } from '../../../billing/lines.ts'
import { type Preview, type PreviewDeps, previewInvoice } from '../../../billing/preview/preview-invoice.ts'
import { checkPlanPrice } from '../../../billing/rating/price-shape.ts'
import { LineAttributesAnswer, lineAttributesAnswer } from '../invoices/line-attributes.ts'
import { LineDiscountAnswer, lineDiscountAnswer } from '../invoices/line-discount.ts'
import { LineTaxAnswer, lineTaxAnswer, taxExample } from '../invoices/line-tax.ts'
import { Id, IdParams, Instant, instantMs, instantText, Key, Nullable, strict } from '../shapes.ts'
import { NewOverrides, overridesOf } from './contract-shapes.ts'
import { HeldWhen, heldChangeOf, heldMembers, heldOf } from './quantity-shapes.ts'

const example = {
  subscription_id: '01890a5d-ac96-774b-bcce-b302099a8055',
  customer: { id: '01890a5d-ac96-774b-bcce-b302099a8056', external_key: 'customer-0' },
  plan: 'llm',
  currency: 'USD',
  period_start: '2023-11-01T00:00:00.000Z',
  period_end: '2023-12-01T00:00:00.000Z',
  change: null,
  usage_until: '2023-11-16T09:31:00.000Z',
  state: 'draft' as const,
  finalises_at: '2023-12-01T01:00:00.000Z',
  provisional: true as const,
  lines: [
    {
      index: 0,
      charge: 'context',
      description: 'Context tokens',
      meter: 'context_tokens',
      period_start: '2023-11-01T00:00:00.000Z',
      period_end: '2023-12-01T00:00:00.000Z',
      plan: 'llm',
      plan_version: 1,
      plan_hash: '4f1c3d0b8a96e2750b6f4d1f9c8e7a6b5d4c3b2a19080706f5e4d3c2b1a09f8e',
      quantity: '2182292',
      events: 1937,
      attributes: null,
      amount: '6.55',
      breakdown: [{ type: 'per_unit', quantity: '2182292', unit_amount: '0.000003', amount: '6.546876' }],
      tax: taxExample,
      discount: null,
    },
  ],
  subtotal: '6.55',
  tax: '1.57',
  total: '8.12',
  amount_due: '8.12',
}

const PreviewAnswer = Type.Object(
  {
    subscription_id: Id,
    customer: Type.Object({ id: Id, external_key: Type.String() }),
    plan: Type.String(),
    currency: Type.String(),
    period_start: Instant,
    period_end: Instant,
    change: Nullable(
      Type.Object(
        {
          plan: Type.String(),
          at: Instant,
          credit: MoneyText,
          charge: MoneyText,
          net: MoneyText,
        },
        {
          description:
            'The change of plan that was asked for, which is not made. It takes `credit` (0 or less) and adds `charge` to ' +
            'the fees of this invoice, before discounts and tax; fees are billed when the period has ended.',
        },
      ),
    ),
    usage_until: Type.String({ ...Instant, description: 'Usage with times before it is in the lines.' }),
    state: Type.Literal('draft', { description: 'What comes until it is finalised is on it.' }),
    finalises_at: Type.String({
      ...Instant,
      description:
        'From when on a run issues it: the end of the period and its grace. Ask with `at` for one in its grace.',
    }),
    provisional: Type.Literal(true, { description: 'Usage that comes later changes it. It has no number.' }),
    lines: Type.Array(
      Type.Object({
        index: Type.Integer(),
        charge: Type.String(),
        description: Type.String(),
        meter: Nullable(Type.String()),
        period_start: Instant,
        period_end: Instant,
        plan: Type.String({ description: 'Whose charge it is.' }),
        plan_version: Type.Integer(),
        plan_hash: Type.String(),
        quantity: Nullable(Type.String({ description: 'What the meter has counted so far.' })),
        events: Nullable(Type.Integer()),
        attributes: Nullable(LineAttributesAnswer),
        amount: MoneyText,
        breakdown: Type.Array(
          Type.Object({ type: Type.String() }, { additionalProperties: true, description: 'Amounts before rounding.' }),
        ),
        tax: Nullable(LineTaxAnswer),
        discount: Nullable(LineDiscountAnswer),
      }),
    ),
    subtotal: MoneyText,
    tax: MoneyText,
    total: MoneyText,
    amount_due: Type.String({ ...MoneyText, description: 'Before prepaid credit is drawn.' }),
  },
  { examples: [example] },
)

const WantedChange = Type.Object(
  { plan: Type.Optional(Key), overrides: Type.Optional(NewOverrides), ...heldMembers, when: HeldWhen },
  { ...strict, examples: [{ quantities: { seats: 8 } }, { add_ons: [{ plan: 'support' }], when: 'period_end' }] },
)

/** The coming invoice, before it is issued. */
export function previewDoor(app: App, deps: PreviewDeps): void {
  previewsAsked(app, deps)
  previewsOfChange(app, { ...deps, checkPrice: checkPlanPrice })
}

function previewsAsked(app: App, deps: PreviewDeps): void {
  app.get(
    '/api/v1/subscriptions/:id/preview',
    {
      config: { permission: 'billing:invoices:read' },
      schema: {
        tags: ['invoices'],
        summary: 'Preview the coming invoice of a subscription',
        description:
          'What a billing run would charge for the period that holds `at`, from the usage that is known now. Where no ' +
          'invoice will come (the period has one, or lies outside the contract) the answer is 409 illegal_state. Whether ' +
          'another subscription prices the same meters is checked by a change of plan alone, not by its preview.',
        params: IdParams,
        querystring: Type.Object(
          {
            at: Type.Optional(Type.String({ ...Instant, description: 'In the period; by default now.' })),
            plan: Type.Optional(Type.String({ ...Key, description: 'As if the plan were changed to this one.' })),
            when: Type.Optional(
              Type.Union([Type.Literal('now'), Type.Literal('period_end')], {
                description: 'When it would be changed; by default as a change does.',
              }),
            ),
          },
          strict,
        ),
        response: { 200: PreviewAnswer },
      },
    },
    async ({ caller, params, query: { at, plan, when } }) => {
      const atMs = at === undefined ? null : instantMs(at, 'at')
      const change = plan === undefined ? null : { plan, when: when ?? null }
      return answer(await previewInvoice(deps, caller.tenantId, { subscription: params.id, atMs, change }))
    },
  )
}

/** A change whose prices and quantities do not fit into a query. */
function previewsOfChange(app: App, deps: PreviewDeps): void {
  app.post(
    '/api/v1/subscriptions/:id/preview',
    {
      config: { permission: 'billing:invoices:read' },
      schema: {
        tags: ['invoices'],
        summary: 'Preview the coming invoice as if plan, prices, quantities or add-ons were changed; nothing is',
        description:
          'The body is what a PATCH of the subscription takes, one change a call. `change` says what it takes off and adds ' +
          'to the fees of the running period. Whether another subscription of the customer prices the same meters is ' +
          'checked by the change alone (409 conflict), not by its preview.',
        params: IdParams,
        body: WantedChange,
        response: { 200: PreviewAnswer },
      },
    },
    async ({ caller, params, body }) => {
      const input = { subscription: params.id, atMs: null, change: wantedChangeOf(body) }
      return answer(await previewInvoice(deps, caller.tenantId, input))
    },
  )
}

function wantedChangeOf(body: Static<typeof WantedChange>): PhaseChange {
  const { plan, overrides, when = null } = body
  const held = heldChangeOf(body)
  if (held !== undefined && overrides === undefined) return held
  const agreed = overrides === undefined ? {} : { overrides: overridesOf(overrides) }
  if (plan !== undefined) return { plan, when, ...agreed, ...heldOf(body) }
  const errors = [{ path: '', message: 'Give one of plan (with overrides), quantities, add_ons.' }]
  throw new Problem('invalid_request', 'The request is not valid.', { errors })
}

function answer(preview: Preview): Static<typeof PreviewAnswer> {
  const { subscription, plan, planOf, period, usageUntilMs, draft, change } = preview
  const money = (amountMinor: bigint) => formatMoney(amountMinor, plan.currency)
  const [periodStart, periodEnd] = [instantText(period.startMs), instantText(period.endMs)]
  return {
    subscription_id: subscription.id,
    customer: { id: subscription.customerId, external_key: subscription.customerKey },
    plan: plan.key,
    currency: plan.currency,
    period_start: periodStart,
    period_end: periodEnd,
    change: change && {
      plan: change.planKey,
      at: instantText(change.atMs),
      credit: money(change.creditMinor),
      charge: money(change.chargeMinor),
      net: money(change.creditMinor + change.chargeMinor),
    },
    usage_until: instantText(usageUntilMs),
    state: 'draft',
    finalises_at: instantText(period.endMs + subscription.graceMs),
    provisional: true,
    lines: draft.lines.map((line, index) => ({
      index,
      charge: line.chargeKey,
      description: line.description,
      meter: line.meter,
      period_start: instantText(line.period.startMs),
      period_end: instantText(line.period.endMs),
      ...planAnswer(planOf(line.planId)),
      quantity: line.usage && formatQuantity(line.usage.quantity),
      events: line.usage?.events ?? null,
      attributes: line.usage && lineAttributesAnswer(countedIn(line.usage)?.attributes),
      amount: money(line.amountMinor),
      breakdown: line.breakdown,
      tax: line.tax ? lineTaxAnswer(line.tax, money) : null,
      discount: discountAnswer(line),
    })),
    subtotal: money(draft.subtotalMinor),
    tax: money(draft.taxMinor),
    total: money(draft.totalMinor),
    amount_due: money(draft.amountDueMinor),
  }
}

function discountAnswer({ discount, breakdown: [entry] }: Line) {
  if (discount === undefined || entry?.type !== 'coupon') return null
  return lineDiscountAnswer({ ...discount, couponKey: entry.coupon })
}

function planAnswer(plan: ReturnType<Preview['planOf']>) {
  if (plan instanceof Problem) throw plan
  return { plan: plan.key, plan_version: plan.version, plan_hash: plan.hash }
}
