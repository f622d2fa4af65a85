import type { Quantity } from '../../../schemas/quantity.ts'

/** The units that an entered tier priced. */
type TierPart = {
  type: 'tier'
  /** From 1. */
  tier: number
  up_to: string | null
  quantity: string
  flat_amount: string
  amount: string
}

/** How an amount came about, unrounded. All decimals are text in canonical form; the amounts sum to the exact one. */
export type BreakdownEntry =
  | { type: 'flat'; amount: string }
  /** Units that the price includes. */
  | { type: 'included'; quantity: string; amount: '0' }
  | { type: 'per_unit'; quantity: string; unit_amount: string; amount: string }
  | (TierPart & { unit_amount: string })
  | (TierPart & { rate: string })
  | { type: 'package'; quantity: string; packages: string; package_size: string; amount: string }
  /** Events that a percentage leaves free whole. */
  | { type: 'free'; events: number; quantity: string; amount: '0' }
  | { type: 'percentage'; quantity: string; rate: string; amount: string }
  | { type: 'fixed'; events: number; fixed_amount: string; amount: string }
  /** What the bounds of single events added, or took off: then it is negative. */
  | { type: 'per_event_minimum'; min_per_event: string; amount: string }
  | { type: 'per_event_maximum'; max_per_event: string; amount: string }
  | { type: 'dynamic'; quantity: string; multiplier: string; amount: string }
  /** `cell` counts from 1; null where the default priced. */
  | { type: 'cell'; cell: number | null; quantity: string; unit_amount: string; amount: string }
  | BoundEntry

/**
 * What a discount and a maximum take off: 0 or less, unless the amount itself is negative. `overage`: what the factor adds to
 * that part of the amount which goes beyond the commitment.
 */
export type BoundEntry =
  | { type: 'discount'; percent: string; amount: string }
  | { type: 'overage'; commitment_amount: string; overage_factor: string; amount: string }
  | { type: 'maximum'; maximum_amount: string; amount: string }

/** What a model answers: the exact amount in major units, and its parts, which sum to it. */
export type Rated = { exact: Quantity; breakdown: BreakdownEntry[] }

/** One of the events that a quantity is made of. */
export type UsedEvent = { value: Quantity; properties?: Readonly<Record<string, unknown>> }
