import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { Problem } from '../../../../schemas/http/problem.ts'
import { CurrencyText } from '../../../../schemas/money.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import { INTERVALS } from '../../../../schemas/time/period.ts'
import { type PlanListing, UNLISTED } from '../../../agreements/plans/listing.ts'
import { listListings } from '../../../agreements/plans/listings.postgres.ts'
import { FEE_TIMES, type Plan } from '../../../agreements/plans/plan.ts'
import { TAX_CLASS } from '../../../agreements/plans/tax-class.ts'
import { Price } from '../../../billing/rating/price.ts'
import { PRICE_MODELS } from '../../../billing/rating/price-shape.ts'
import { PRORATION_BASES } from '../../../billing/unused.ts'
import { Id, Instant, instantText, instantTextOrNull, Key, Nullable, strict, Text } from '../shapes.ts'
import { ChargeQuantity, PlanKind } from './charge-quantity.ts'

export const KeyParams = Type.Object({ key: Key }, strict)

const MAX_EVERY = 366
const MAX_GRACE_SECONDS = 30 * 86_400

const exampleBody = {
  key: 'llm',
  name: 'LLM usage',
  currency: 'USD',
  interval: 'month',
  alignment: 'calendar',
  grace_seconds: 3600,
  charges: [
    { key: 'base', name: 'Base fee', price: { model: 'flat', amount: '20.00' } },
    {
      key: 'context',
      name: 'Context tokens',
      meter: 'context_tokens',
      price: { model: 'per_unit', unit_amount: '0.000003' },
    },
  ],
}
export const planExample = {
  ...exampleBody,
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  version: 1,
  effective_from: null,
  hash: '6b0c8eb6c6d8a5b4ff6b1a6d9a5e3d1a4c0f7f3b1c9d2e8a7b6c5d4e3f2a1b0c',
  every: 1,
  proration_basis: 'second' as const,
  fees: 'in_advance' as const,
  kind: 'base' as const,
  charges: exampleBody.charges.map((charge) => ({ ...charge, meter: charge.meter ?? null })),
  product: 'llm',
  archived_at: null,
  created_at: '2023-12-01T00:00:00.000Z',
}

const interval = Type.Enum(INTERVALS, { description: 'A period is `every` of these.' })
const every = Type.Integer({
  minimum: 1,
  maximum: MAX_EVERY,
  description: 'A period is so many intervals long, and ten years at most.',
})
const prorationBasis = Type.Enum(PRORATION_BASES, {
  description: "What of a period that is cut is counted: its seconds, or the calendar days of the customer's zone.",
})
const fees = Type.Enum(FEE_TIMES, {
  description:
    'When the fees of a period (its flat prices) are billed: on the invoice of the period before, those of the first one ' +
    'on an invoice of their own as it begins; or, as usage always is, when it is over. Default: as the version ' +
    'before, in_advance for a new plan.',
})
const alignment = Type.Union([Type.Literal('calendar'), Type.Literal('anniversary')])
const graceSeconds = Type.Integer({
  minimum: 0,
  maximum: MAX_GRACE_SECONDS,
  description: 'How long a period stays open for late usage after its end.',
})

/** Checked by its model in the operation, which can say what is wrong with it; the answer has the schema of each. */
export const NewPrice = Type.Object(
  { model: Type.String({ maxLength: 64, description: `One of ${PRICE_MODELS.join(', ')}.` }) },
  {
    additionalProperties: true,
    description:
      'A price as in the answer. matrix, and a percentage with parts per event, need a meter that adds its events up. ' +
      'The dimensions of a matrix are paths inside the data of events, such as `region` or `model.size`.',
  },
)

const Attributes = Type.Optional(
  Type.Array(Text(512), {
    maxItems: 5,
    description:
      'Properties of the events that the line lists with their quantities, such as `payer` and `code`: paths inside the ' +
      'data of events. The meter has to add its events up.',
  }),
)
const TaxClass = Type.Optional(
  Type.String({ pattern: TAX_CLASS, description: 'What is sold, as tax rates name it; left out: anything.' }),
)
export const NewCharge = Type.Object(
  {
    ...{ key: Key, name: Text(512), meter: Type.Optional(Nullable(Key)), price: NewPrice, attributes: Attributes },
    quantity: Type.Optional(ChargeQuantity),
    tax_class: TaxClass,
  },
  strict,
)
const content = {
  name: Text(512),
  currency: CurrencyText,
  interval,
  every: Type.Optional(every),
  alignment: Type.Optional(alignment),
  grace_seconds: Type.Optional(graceSeconds),
  proration_basis: Type.Optional(prorationBasis),
  fees: Type.Optional(fees),
  kind: Type.Optional(PlanKind),
  charges: Type.Array(NewCharge, { minItems: 1, maxItems: 100 }),
}
export const NewContent = Type.Object(content)
const product = Type.Optional(
  Nullable(Type.String({ ...Key, description: 'The product that it is of, by id or key. It is not in the hash.' })),
)
export const NewPlan = Type.Object({ key: Key, ...content, product }, { ...strict, examples: [exampleBody] })

const { key: _, ...exampleContent } = exampleBody
export const NewVersion = Type.Object(
  {
    version: Type.Optional(
      Type.Integer({
        minimum: 2,
        maximum: 2_147_483_647,
        description: 'The number that it is to have: named, the call can be sent again at any time. Default: the next.',
      }),
    ),
    effective_from: Type.Optional(
      Type.String({
        format: 'date-time',
        description:
          'Subscriptions and changes made after it that begin from then on take it; those made before keep theirs. A ' +
          'whole minute, not in the past, and five years ahead at most. Default: now, or with the latest version where ' +
          'that lies at most five minutes ahead.',
      }),
    ),
    ...content,
  },
  { ...strict, examples: [{ version: 2, effective_from: '2024-01-01T00:00:00Z', ...exampleContent }] },
)

export const ChargeAnswer = Type.Object({
  ...{ key: Type.String(), name: Type.String(), meter: Nullable(Type.String()), price: Price },
  attributes: Attributes,
  quantity: Type.Optional(ChargeQuantity),
  tax_class: TaxClass,
})
export const PlanAnswer = Type.Object(
  {
    id: Id,
    key: Type.String(),
    version: Type.Integer({ description: 'A version never changes; a subscription stays on the one that it has.' }),
    effective_from: Nullable(Instant),
    hash: Type.String({ description: 'SHA-256 of what decides amounts, names left out. Invoices quote it.' }),
    name: Type.String(),
    currency: Type.String(),
    interval,
    every: Type.Integer(),
    alignment,
    grace_seconds: Type.Integer(),
    proration_basis: prorationBasis,
    fees,
    kind: PlanKind,
    charges: Type.Array(ChargeAnswer),
    product: Nullable(Type.String({ description: 'The key of the product that the plan is of, in all its versions.' })),
    archived_at: Nullable(Type.String({ ...Instant, description: 'From then on nobody begins with it.' })),
    created_at: Instant,
  },
  { examples: [planExample] },
)

export function contentOf(body: Static<typeof NewContent>) {
  return {
    name: body.name,
    currency: body.currency,
    interval: body.interval,
    every: body.every,
    alignment: body.alignment,
    graceSeconds: body.grace_seconds,
    prorationBasis: body.proration_basis,
    fees: body.fees,
    ...(body.kind === 'add_on' ? { kind: body.kind } : {}),
    charges: body.charges.map(chargeOf),
  }
}

export function chargeOf({ key, name, meter, price, quantity, attributes = [], ...more }: Static<typeof NewCharge>) {
  const { tax_class: taxClass } = more
  const sold = taxClass === undefined ? {} : { taxClass }
  const charge = { key, name, meter: meter ?? null, price, ...(quantity ? { quantity } : {}), ...sold }
  return attributes.length === 0 ? charge : { ...charge, attributes }
}

/** As it stands in the catalogue. */
export async function shown(tx: TenantTransaction, plan: Plan): Promise<Static<typeof PlanAnswer>> {
  return answer(plan, (await listListings(tx, [plan.key])).get(plan.key))
}

export async function allShown(tx: TenantTransaction, plans: readonly Plan[]) {
  const listings = await listListings(
    tx,
    plans.map(({ key }) => key),
  )
  return plans.map((plan) => answer(plan, listings.get(plan.key)))
}

function answer(plan: Plan, listing: PlanListing = UNLISTED): Static<typeof PlanAnswer> {
  return {
    id: plan.id,
    key: plan.key,
    version: plan.version,
    effective_from: instantTextOrNull(plan.effectiveFromMs),
    hash: plan.hash,
    name: plan.name,
    currency: plan.currency,
    interval: plan.interval,
    every: plan.every,
    alignment: plan.alignment,
    grace_seconds: plan.graceSeconds,
    proration_basis: plan.prorationBasis,
    fees: plan.fees,
    kind: plan.kind ?? 'base',
    charges: plan.charges.map(chargeShown),
    product: listing.product,
    archived_at: instantTextOrNull(listing.archivedAtMs),
    created_at: instantText(plan.createdAtMs),
  }
}

/** @throws Problem internal for a price that is none. */
export function chargeShown(shown: Plan['charges'][number]): Static<typeof ChargeAnswer> {
  const { price, attributes, taxClass, ...charge } = shown
  if (!Value.Check(Price, price)) throw new Problem('internal', `Charge ${charge.key} has no price that can be shown.`)
  const sold = taxClass === undefined ? {} : { tax_class: taxClass }
  return { ...charge, price, ...(attributes ? { attributes: [...attributes] } : {}), ...sold }
}
