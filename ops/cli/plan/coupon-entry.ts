import { isDeepStrictEqual } from 'node:util'
import { type Static, Type } from 'typebox'
import { type Call, type EntryDifference, plainDecimal } from './entry.ts'
import { leavesOf, linesOf } from './lines.ts'

const text = Type.String({ minLength: 1 })
const Nullable = <Shape extends Parameters<typeof Type.Union>[0][number]>(shape: Shape) =>
  Type.Union([shape, Type.Null()])
const content = {
  key: text,
  name: text,
  cycles: Nullable(Type.Integer({ minimum: 1 })),
}
/** A coupon as a file has it: all of it, for it never changes. Left out, `archived` is as the product has it. */
export const FileCoupon = Type.Object(
  {
    ...content,
    percent: Type.Optional(text),
    amount: Type.Optional(text),
    currency: Type.Optional(text),
    charges: Type.Optional(Type.Array(text, { minItems: 1 })),
    redeem_by: Type.Optional(text),
    max_redemptions: Type.Optional(Type.Integer({ minimum: 1 })),
    archived: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
)
export type FileCoupon = Static<typeof FileCoupon>

/** As the doors answer it. */
export const LiveCoupon = Type.Object({
  ...content,
  percent: Nullable(Type.String()),
  amount: Nullable(Type.String()),
  currency: Nullable(Type.String()),
  charges: Nullable(Type.Array(Type.String())),
  redeem_by: Nullable(Type.String()),
  max_redemptions: Nullable(Type.Integer()),
  archived_at: Nullable(Type.String()),
})
export type LiveCoupon = Static<typeof LiveCoupon>

/** What a coupon of a file would change: its content never does, so another one is refused. */
export function differenceOfCoupon(wanted: FileCoupon, live: LiveCoupon | undefined): EntryDifference {
  const before = live && plain(couponForFile(live))
  const { archived = before?.archived ?? false, ...content } = plain(wanted)
  const lines = linesOf(leavesOf(before ?? {}), leavesOf(archived ? { ...content, archived } : content))
  const { key } = wanted
  const all = { kind: 'coupon' as const, key, isNew: before === undefined, lines }
  const path = `/coupons/${encodeURIComponent(key)}/archive`
  const archive: Call[] = archived && before?.archived !== true ? [{ method: 'POST', path, body: {} }] : []
  if (before === undefined) {
    return { ...all, calls: [{ method: 'POST', path: '/coupons', body: content }, ...archive], refused: [] }
  }
  const refused = [
    ...(isDeepStrictEqual({ ...before, archived }, { ...content, archived }) ? [] : [CONTENT_NEVER_CHANGES]),
    ...(before.archived === true && !archived ? [ARCHIVED_FOR_GOOD] : []),
  ]
  return { ...all, calls: refused.length === 0 ? archive : [], refused }
}
const CONTENT_NEVER_CHANGES = 'What a coupon takes off never changes: make one with another key, and archive this one.'
const ARCHIVED_FOR_GOOD = 'archived: This is never taken back: make a coupon with another key.'

/** A coupon as a file says it, with nothing that is not there. */
export function couponForFile(live: LiveCoupon): FileCoupon {
  const { key, name, percent, amount, currency, cycles, charges, redeem_by: redeemBy, max_redemptions: most } = live
  return {
    ...{ key, name },
    ...(percent === null ? {} : { percent }),
    ...(amount === null ? {} : { amount }),
    ...(currency === null ? {} : { currency }),
    cycles,
    ...(charges === null ? {} : { charges }),
    ...(redeemBy === null ? {} : { redeem_by: redeemBy }),
    ...(most === null ? {} : { max_redemptions: most }),
    ...(live.archived_at === null ? {} : { archived: true }),
  }
}

/** Spelled in one way. */
function plain({ percent, amount, charges, redeem_by: redeemBy, ...coupon }: FileCoupon): FileCoupon {
  const redeemMs = redeemBy === undefined ? Number.NaN : Date.parse(redeemBy)
  return {
    ...coupon,
    ...(percent === undefined ? {} : { percent: plainDecimal(percent) }),
    ...(amount === undefined ? {} : { amount: plainDecimal(amount) }),
    ...(charges === undefined ? {} : { charges: [...new Set(charges)].sort() }),
    ...(redeemBy === undefined
      ? {}
      : { redeem_by: Number.isNaN(redeemMs) ? redeemBy : new Date(redeemMs).toISOString() }),
  }
}
