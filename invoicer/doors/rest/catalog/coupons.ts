import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText, MoneyText } from '../../../../schemas/money.ts'
import { QuantityText } from '../../../../schemas/quantity.ts'
import type { Coupon } from '../../../agreements/coupons/coupon.ts'
import { listCoupons } from '../../../agreements/coupons/coupons.postgres.ts'
import { archiveCoupon, createCoupon, offTexts, readCoupon } from '../../../agreements/coupons/create-coupon.ts'
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
  Rehearsal,
  strict,
  Text,
  transactOf,
} from '../shapes.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8061',
  key: 'launch',
  name: 'Launch offer',
  percent: '20',
  amount: null,
  currency: null,
  cycles: 3,
  charges: null,
  redeem_by: null,
  max_redemptions: 100,
  redemptions: 1,
  archived_at: null,
  created_at: '2023-12-01T00:00:00.000Z',
}

const Cycles = Nullable(
  Type.Integer({
    minimum: 1,
    maximum: 10_000,
    description: 'How many invoiced periods of a subscription it lasts: 1 is once; null: for ever.',
  }),
)
const Charges = Nullable(
  Type.Array(Key, {
    minItems: 1,
    maxItems: 100,
    description: 'Keys of charges whose lines it lowers; null: all lines of the invoice.',
  }),
)
const MaxRedemptions = Nullable(
  Type.Integer({ minimum: 1, maximum: 2_147_483_647, description: 'How often it is given at most.' }),
)

const NewCoupon = Type.Object(
  {
    key: Type.String({ ...Key, description: 'Unique: the same again answers the stored coupon.' }),
    name: Type.String({ ...Text(256), description: 'Invoices show it.' }),
    percent: Type.Optional(Type.String({ ...QuantityText, description: 'Above 0, at most 100; or an amount.' })),
    amount: Type.Optional(Type.String({ ...MoneyText, description: 'Off each invoice, with its currency.' })),
    currency: Type.Optional(CurrencyText),
    cycles: Cycles,
    charges: Type.Optional(Charges),
    redeem_by: Type.Optional(Nullable(Type.String({ ...Instant, description: 'The last instant to give it.' }))),
    max_redemptions: Type.Optional(MaxRedemptions),
  },
  { ...strict, examples: [{ key: 'launch', name: 'Launch offer', percent: '20', cycles: 3, max_redemptions: 100 }] },
)

const CouponAnswer = Type.Object(
  {
    id: Id,
    key: Type.String(),
    name: Type.String(),
    percent: Nullable(Type.String()),
    amount: Nullable(MoneyText),
    currency: Nullable(CurrencyText),
    cycles: Cycles,
    charges: Charges,
    redeem_by: Nullable(Instant),
    max_redemptions: MaxRedemptions,
    redemptions: Type.Integer({ description: 'How often it was given.' }),
    archived_at: Nullable(Instant),
    created_at: Instant,
  },
  { examples: [example] },
)

const tags = ['coupons']
const url = '/api/v1/coupons'

/** What may be given off invoices. A coupon never changes; it can be archived. */
export function couponsDoor(app: App, deps: DoorDeps): void {
  mountWriting(app, deps)
  mountReading(app, deps)
}

function mountWriting(app: App, deps: DoorDeps): void {
  app.post(
    url,
    {
      config: { permission: 'billing:coupons:create' },
      schema: {
        tags,
        summary: 'Create a coupon; the same again answers the stored one',
        querystring: Rehearsal,
        body: NewCoupon,
        response: { 200: CouponAnswer, 201: CouponAnswer },
      },
    },
    async ({ caller, body, query }, reply) => {
      const input = {
        ...{ key: body.key, name: body.name, cycles: body.cycles, charges: body.charges ?? null },
        ...{ percent: body.percent ?? null, amount: body.amount ?? null, currency: body.currency ?? null },
        redeemByMs: body.redeem_by == null ? null : instantMs(body.redeem_by, 'redeem_by'),
        maxRedemptions: body.max_redemptions ?? null,
      }
      const { coupon, created } = await transactOf(deps, query)(caller.tenantId, (tx) => createCoupon(tx, input, deps))
      return reply.code(created ? 201 : 200).send(answer(coupon))
    },
  )
  app.post(
    `${url}/:id/archive`,
    {
      config: { permission: 'billing:coupons:create' },
      schema: {
        tags,
        summary: 'Give a coupon no more; discounts by it go on',
        params: IdParams,
        response: { 200: CouponAnswer },
      },
    },
    async ({ caller, params }) =>
      answer(await deps.transact(caller.tenantId, (tx) => archiveCoupon(tx, params.id, deps))),
  )
}

function mountReading(app: App, deps: DoorDeps): void {
  app.get(
    `${url}/:id`,
    {
      config: { permission: 'billing:coupons:read' },
      schema: { tags, summary: 'Read a coupon by id or key', params: IdParams, response: { 200: CouponAnswer } },
    },
    async ({ caller, params }) => answer(await deps.transact(caller.tenantId, (tx) => readCoupon(tx, params.id))),
  )
  app.get(
    url,
    {
      config: { permission: 'billing:coupons:read' },
      schema: {
        tags,
        summary: 'List coupons, archived ones included',
        querystring: Type.Object(pageMembers, strict),
        response: { 200: listOf('coupons', CouponAnswer, example) },
      },
    },
    async ({ caller, query }) => {
      const page = pageOf(query)
      const coupons = await deps.transact(caller.tenantId, (tx) => listCoupons(tx, page))
      return { coupons: coupons.map(answer), next: nextOf(coupons, page) }
    },
  )
}

function answer(coupon: Coupon): Static<typeof CouponAnswer> {
  return {
    id: coupon.id,
    key: coupon.key,
    name: coupon.name,
    ...offTexts(coupon),
    cycles: coupon.cycles,
    charges: coupon.charges && [...coupon.charges],
    redeem_by: instantTextOrNull(coupon.redeemByMs),
    max_redemptions: coupon.maxRedemptions,
    redemptions: coupon.redemptions,
    archived_at: instantTextOrNull(coupon.archivedAtMs),
    created_at: instantText(coupon.createdAtMs),
  }
}
