import { type Static, Type } from 'typebox'
import { type Entitlement, Entitlement as EntitlementShape } from '../../../ingest/entitlements/entitlement.ts'
import { fill } from '../../../invoicer/agreements/plans/create-plan.ts'
import { type AgreedPrice, FEE_TIMES, type PlanContent } from '../../../invoicer/agreements/plans/plan.ts'
import { TAX_CLASS } from '../../../invoicer/agreements/plans/tax-class.ts'
import { checkPlanPrice } from '../../../invoicer/billing/rating/price-shape.ts'
import { INTERVALS } from '../../../schemas/time/period.ts'
import { byName } from './entry.ts'
import { FileError } from './file-error.ts'

const strict = { additionalProperties: false }
const text = Type.String({ minLength: 1 })
export const FilePlan = Type.Object(
  {
    key: text,
    name: text,
    currency: text,
    interval: Type.Enum(INTERVALS),
    every: Type.Optional(Type.Integer({ minimum: 1 })),
    alignment: Type.Optional(Type.Enum(['calendar', 'anniversary'])),
    proration_basis: Type.Optional(Type.Enum(['second', 'day'])),
    fees: Type.Optional(Type.Enum(FEE_TIMES)),
    kind: Type.Optional(Type.Enum(['base', 'add_on'])),
    grace_seconds: Type.Optional(Type.Integer({ minimum: 0 })),
    charges: Type.Array(
      Type.Object(
        {
          ...{ key: text, name: text, meter: Type.Optional(text), price: Type.Object({ model: Type.String() }) },
          attributes: Type.Optional(Type.Array(text, { minItems: 1 })),
          tax_class: Type.Optional(Type.String({ pattern: TAX_CLASS })),
          quantity: Type.Optional(
            Type.Object({ default: text, min: Type.Optional(text), max: Type.Optional(text) }, strict),
          ),
        },
        strict,
      ),
      { minItems: 1 },
    ),
    entitlements: Type.Optional(Type.Record(Type.String(), EntitlementShape)),
    product: Type.Optional(Type.Union([text, Type.Null()])),
    archived: Type.Optional(Type.Boolean()),
  },
  strict,
)

/** Where a plan stands in the catalogue. */
export type Listing = { product: string | null; archived: boolean }

/** A plan as a file has it. Without entitlements nothing is said about them; an empty map says that there are none. */
export type CataloguePlan = {
  key: string
  content: PlanContent<AgreedPrice>
  entitlements: ReadonlyMap<string, Entitlement> | undefined
  /** The key of its product, null for none, and whether it is archived. Left out, nothing is said about it. */
  listing: Partial<Listing>
  /** It does not say when fees are billed: as the product has it, where it has the plan. */
  feesLeftOut?: true
}

/** A plan as the product takes it, in the names of the wire. */
export function toWire({ key, content }: Pick<CataloguePlan, 'key' | 'content'>) {
  const { name, currency, interval, every, alignment, prorationBasis, graceSeconds, fees, kind, charges } = content
  return {
    ...{ key, name, currency, interval, every, alignment },
    proration_basis: prorationBasis,
    grace_seconds: graceSeconds,
    fees,
    ...(kind === undefined ? {} : { kind }),
    charges: charges.map((charge) => ({
      ...{ key: charge.key, name: charge.name },
      ...(charge.meter === null ? {} : { meter: charge.meter }),
      price: modelFirst(charge.price),
      ...(charge.quantity ? { quantity: charge.quantity } : {}),
      ...(charge.attributes ? { attributes: charge.attributes } : {}),
      ...(charge.taxClass === undefined ? {} : { tax_class: charge.taxClass }),
    })),
  }
}

/** @throws FileError for a price that cannot be billed. */
export function fromFile(plan: Static<typeof FilePlan>): CataloguePlan {
  for (const charge of plan.charges) {
    const [wrong] = checkPlanPrice(charge.price)
    if (wrong === undefined) continue
    const where = `price${wrong.path.replaceAll('/', '.')}`
    throw new FileError(
      `Plan ${JSON.stringify(plan.key)}, charge ${JSON.stringify(charge.key)}, ${where}: ${wrong.message}`,
    )
  }
  const { key, name, currency, interval, every, alignment, entitlements } = plan
  const content = fill({
    ...{ name, currency, interval, every, alignment },
    prorationBasis: plan.proration_basis,
    graceSeconds: plan.grace_seconds,
    fees: plan.fees,
    ...(plan.kind === 'add_on' ? { kind: plan.kind } : {}),
    charges: plan.charges.map((charge) => withTaxClass({ ...charge, meter: charge.meter ?? null })),
  })
  return {
    ...{ key, content, entitlements: entitlements && new Map(Object.entries(entitlements)) },
    listing: {
      ...(plan.product === undefined ? {} : { product: plan.product }),
      ...(plan.archived === undefined ? {} : { archived: plan.archived }),
    },
    ...(plan.fees === undefined ? { feesLeftOut: true as const } : {}),
  }
}

/** A charge in our names. */
export function withTaxClass<T extends { tax_class?: string }>({ tax_class: taxClass, ...charge }: T) {
  return taxClass === undefined ? charge : { ...charge, taxClass }
}

export function toFile(plan: CataloguePlan): object {
  const { entitlements, listing } = plan
  const { key, name, ...terms } = toWire(plan)
  return {
    ...{ key, name },
    ...(listing.product == null ? {} : { product: listing.product }),
    ...(listing.archived === true ? { archived: true } : {}),
    ...terms,
    ...(entitlements === undefined ? {} : { entitlements: byName(Object.fromEntries(entitlements)) }),
  }
}

function modelFirst({ model, ...price }: AgreedPrice): AgreedPrice {
  return { model, ...price }
}
