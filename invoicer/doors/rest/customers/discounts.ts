import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import type { Discount } from '../../../agreements/coupons/coupon.ts'
import { listDiscounts } from '../../../agreements/coupons/discounts.postgres.ts'
import { endDiscount, readDiscount } from '../../../agreements/coupons/end-discount.ts'
import { type GiveDiscount, giveDiscount } from '../../../agreements/coupons/give-discount.ts'
import { readCustomer } from '../../../agreements/customers/read-customer.ts'
import { readSubscription } from '../../../agreements/subscriptions/read-subscription.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantMs,
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

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8062',
  external_key: 'launch-ann',
  coupon: 'launch',
  customer_id: '01890a5d-ac96-774b-bcce-b302099a8056',
  subscription_id: null,
  start: '2023-12-01T00:00:00.000Z',
  end: null,
  created_at: '2023-12-01T00:00:03.000Z',
}

const NewDiscount = Type.Object(
  {
    external_key: Type.String({ ...Key, description: 'Unique: the same again answers the stored discount.' }),
    coupon: Type.String({ ...Key, description: 'Id or key.' }),
    start: Type.Optional(
      Type.String({
        ...Instant,
        description:
          'On invoices that fall due after it: as their period ends, and the first fees in advance in the minute in which ' +
          'they begin. By default now: for a fee that began before, send when it did.',
      }),
    ),
  },
  { ...strict, examples: [{ external_key: 'launch-ann', coupon: 'launch' }] },
)
type NewDiscount = Static<typeof NewDiscount>

const DiscountAnswer = Type.Object(
  {
    id: Id,
    external_key: Type.String(),
    coupon: Type.String({ description: 'Its key.' }),
    customer_id: Id,
    subscription_id: Nullable(Type.String({ format: 'uuid', description: "null: all of the customer's." })),
    start: Instant,
    end: Nullable(Type.String({ ...Instant, description: 'Periods that end later do without it.' })),
    created_at: Instant,
  },
  { examples: [example] },
)

const tags = ['coupons']
const description =
  'Of several discounts each takes off what the ones before it left: first those of named charges, then those of all ' +
  'lines; among each percentages before amounts, then the older one. No line gets below 0 by them, and no invoice but for ' +
  'the fees and late usage that it gives back; what is left of an amount then is lost. A run takes into account what was ' +
  'given before it was opened.'

/** Coupons that were given to customers and subscriptions. */
export function discountsDoor(app: App, deps: DoorDeps): void {
  mountGiving(app, deps)
  mountEnding(app, deps)
  mountReading(app, deps)
}

function mountGiving(app: App, deps: DoorDeps): void {
  const schema = {
    tags,
    description,
    params: IdParams,
    body: NewDiscount,
    response: { 200: DiscountAnswer, 201: DiscountAnswer },
  }
  const config = { permission: 'billing:discounts:create' } as const
  const give = async (tenantId: number, to: GiveDiscount['to'], body: NewDiscount) => {
    const startMs = body.start === undefined ? null : instantMs(body.start, 'start')
    const input = { externalKey: body.external_key, coupon: body.coupon, to, startMs }
    return deps.transact(tenantId, (tx) => giveDiscount(tx, input, deps))
  }
  app.post(
    '/api/v1/subscriptions/:id/discounts',
    {
      config,
      schema: { ...schema, summary: 'Give a subscription a coupon; the same again answers the stored discount' },
    },
    async ({ caller, params, body }, reply) => {
      const { discount, created } = await give(caller.tenantId, { subscription: params.id }, body)
      return reply.code(created ? 201 : 200).send(answer(discount))
    },
  )
  app.post(
    '/api/v1/customers/:id/discounts',
    {
      config,
      schema: {
        ...schema,
        summary: 'Give a customer a coupon, for each of its subscriptions; the same again answers the stored discount',
      },
    },
    async ({ caller, params, body }, reply) => {
      const { discount, created } = await give(caller.tenantId, { customer: params.id }, body)
      return reply.code(created ? 201 : 200).send(answer(discount))
    },
  )
}

function mountEnding(app: App, deps: DoorDeps): void {
  app.post(
    '/api/v1/discounts/:id/end',
    {
      config: { permission: 'billing:discounts:create' },
      schema: {
        tags,
        summary: 'End a discount; issued invoices keep it',
        params: IdParams,
        body: Type.Object(
          { at: Type.Optional(Type.String({ ...Instant, description: 'By default now. It never changes.' })) },
          { ...strict, examples: [{ at: '2024-03-01T00:00:00Z' }] },
        ),
        response: { 200: DiscountAnswer },
      },
    },
    async ({ caller, params, body }) => {
      const endMs = body.at === undefined ? null : instantMs(body.at, 'at')
      return answer(await deps.transact(caller.tenantId, (tx) => endDiscount(tx, params.id, endMs, deps)))
    },
  )
}

function mountReading(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/discounts/:id',
    {
      config: { permission: 'billing:coupons:read' },
      schema: { tags, summary: 'Read a discount', params: IdParams, response: { 200: DiscountAnswer } },
    },
    async ({ caller, params }) => answer(await deps.transact(caller.tenantId, (tx) => readDiscount(tx, params.id))),
  )
  app.get(
    '/api/v1/discounts',
    {
      config: { permission: 'billing:coupons:read' },
      schema: {
        tags,
        summary: 'List discounts',
        querystring: Type.Object(
          {
            customer: Type.Optional(Type.String({ ...Key, description: 'Id or external key.' })),
            subscription: Type.Optional(
              Type.String({ ...Key, description: "Id or external key: its own, and those of all its customer's." }),
            ),
            ...pageMembers,
          },
          strict,
        ),
        response: { 200: listOf('discounts', DiscountAnswer, example) },
      },
    },
    async ({ caller, query }) => {
      const page = pageOf(query)
      const discounts = await deps.transact(caller.tenantId, async (tx) => {
        const subscription = query.subscription === undefined ? null : await readSubscription(tx, query.subscription)
        const named = query.customer === undefined ? null : await readCustomer(tx, query.customer)
        const customerId = named?.id ?? subscription?.customerId ?? null
        return listDiscounts(tx, { customerId, subscriptionId: subscription?.id ?? null }, page)
      })
      return { discounts: discounts.map(answer), next: nextOf(discounts, page) }
    },
  )
}

function answer(discount: Discount): Static<typeof DiscountAnswer> {
  return {
    id: discount.id,
    external_key: discount.externalKey,
    coupon: discount.couponKey,
    customer_id: discount.customerId,
    subscription_id: discount.subscriptionId,
    start: instantText(discount.startMs),
    end: instantTextOrNull(discount.endMs),
    created_at: instantText(discount.createdAtMs),
  }
}
