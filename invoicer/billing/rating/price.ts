import { type Static, Type } from 'typebox'
import { QuantityText } from '../../../schemas/quantity.ts'

const strict = { additionalProperties: false }
const optional = Type.Optional(QuantityText)

/**
 * On a price of any model, in the order in which they work: units that cost nothing, then the model, then the discount,
 * then, of what goes beyond the commitment, the overage factor (1 if it is left out), then the most the line may cost; what
 * the line lacks to the least, or to the commitment, is a line of its own at the period's end. A commitment of several
 * `commitment_periods` is drawn down by all of them: its overage and its true-up come as they are billed (commitments/).
 */
const onAny = {
  included_units: optional,
  discount_percent: optional,
  commitment_amount: optional,
  overage_factor: optional,
  commitment_periods: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 1000, description: 'Left out: each period has the commitment for itself.' }),
  ),
  maximum_amount: optional,
  minimum_amount: optional,
}

/** The same amount whatever the quantity. */
export const FlatPrice = Type.Object({ model: Type.Literal('flat'), amount: QuantityText, ...onAny }, strict)
export type FlatPrice = Static<typeof FlatPrice>

export const PerUnitPrice = Type.Object(
  { model: Type.Literal('per_unit'), unit_amount: QuantityText, ...onAny },
  strict,
)
export type PerUnitPrice = Static<typeof PerUnitPrice>

const upTo = Type.Union([QuantityText, Type.Null()])
const severalTiers = { minItems: 1, maxItems: 1000 }

/** `up_to` is inclusive and may be fractional; that of the last tier, and of no other, is null. */
export const Tier = Type.Object({ up_to: upTo, unit_amount: QuantityText, flat_amount: optional }, strict)
export type Tier = Static<typeof Tier>

/** Each unit is priced in its own tier. */
export const GraduatedPrice = Type.Object(
  { model: Type.Literal('graduated'), tiers: Type.Array(Tier, severalTiers), ...onAny },
  strict,
)
export type GraduatedPrice = Static<typeof GraduatedPrice>

/** All units are priced in the tier that the total reaches. */
export const VolumePrice = Type.Object(
  { model: Type.Literal('volume'), tiers: Type.Array(Tier, severalTiers), ...onAny },
  strict,
)
export type VolumePrice = Static<typeof VolumePrice>

/** `amount` for each package of `package_size` units: for started ones, or with `round: down` for full ones. */
export const PackagePrice = Type.Object(
  {
    model: Type.Literal('package'),
    amount: QuantityText,
    package_size: QuantityText,
    round: Type.Optional(Type.Union([Type.Literal('up'), Type.Literal('down')])),
    ...onAny,
  },
  strict,
)
export type PackagePrice = Static<typeof PackagePrice>

/** A rate in percent on the value of each event, and a fixed amount for it; the first events or units may be free. */
export const PercentagePrice = Type.Object(
  {
    model: Type.Literal('percentage'),
    rate: QuantityText,
    fixed_amount: optional,
    free_units: optional,
    free_events: optional,
    min_per_event: optional,
    max_per_event: optional,
    ...onAny,
  },
  strict,
)
export type PercentagePrice = Static<typeof PercentagePrice>

export const PercentageTier = Type.Object({ up_to: upTo, rate: QuantityText, flat_amount: optional }, strict)
export type PercentageTier = Static<typeof PercentageTier>

/** As graduated, with a rate in percent instead of an amount per unit. */
export const GraduatedPercentagePrice = Type.Object(
  { model: Type.Literal('graduated_percentage'), tiers: Type.Array(PercentageTier, severalTiers), ...onAny },
  strict,
)
export type GraduatedPercentagePrice = Static<typeof GraduatedPercentagePrice>

/** The amount is in the event; it is charged times a multiplier. */
export const DynamicPrice = Type.Object({ model: Type.Literal('dynamic'), multiplier: QuantityText, ...onAny }, strict)
export type DynamicPrice = Static<typeof DynamicPrice>

const scalar = Type.Union([Type.String(), Type.Number(), Type.Boolean()])

/** Holds for an event whose properties have all these values, compared as text. */
export const Cell = Type.Object({ when: Type.Record(Type.String(), scalar), unit_amount: QuantityText }, strict)
export type Cell = Static<typeof Cell>

/** The price of a unit depends on up to three properties of its event: the first cell that holds wins. */
export const MatrixPrice = Type.Object(
  {
    model: Type.Literal('matrix'),
    dimensions: Type.Array(Type.String({ minLength: 1 }), { minItems: 1, maxItems: 3 }),
    cells: Type.Array(Cell, { maxItems: 1000 }),
    default_unit_amount: QuantityText,
    ...onAny,
  },
  strict,
)
export type MatrixPrice = Static<typeof MatrixPrice>

/** The schema of each model, by its name. */
export const PRICE_OF_MODEL = {
  flat: FlatPrice,
  per_unit: PerUnitPrice,
  graduated: GraduatedPrice,
  volume: VolumePrice,
  package: PackagePrice,
  percentage: PercentagePrice,
  graduated_percentage: GraduatedPercentagePrice,
  dynamic: DynamicPrice,
  matrix: MatrixPrice,
} as const

/**
 * What one charge costs. Amounts are decimals in major units, as text, and none is negative. A quantity may be, where
 * its meter allows it: then it counts in the first tier, starts no package, and takes off what it would have cost.
 */
export const Price = Type.Union([
  FlatPrice,
  PerUnitPrice,
  GraduatedPrice,
  VolumePrice,
  PackagePrice,
  PercentagePrice,
  GraduatedPercentagePrice,
  DynamicPrice,
  MatrixPrice,
])
export type Price = Static<typeof Price>
