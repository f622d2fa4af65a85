import { type Static, Type } from 'typebox'
import { WINDOWS } from '../quota/limit.ts'

const Quantity = Type.String({ pattern: '^\\d{1,26}(\\.\\d{1,12})?$', description: 'A decimal as text, not negative' })
const MOST_VALUE_BYTES = 4_096
const MOST_THRESHOLDS = 20
const DEFAULT_THRESHOLDS: readonly string[] = ['50%', '80%', '100%']

/** A limit on a meter. What is left out: per subject, hard, closed, told at 50, 80 and 100 percent. */
export const Metered = Type.Object(
  {
    type: Type.Literal('metered'),
    meter: Type.String({ minLength: 1, maxLength: 63 }),
    limit: Quantity,
    window: Type.Enum(WINDOWS, {
      description:
        'UTC; billing_period: that of the subscription, a calendar month without one; rolling: any time of that length',
    }),
    per: Type.Optional(
      Type.Union([Type.Literal('subject'), Type.Literal('customer')], {
        description: 'Each subject by itself, or all subjects of a customer together',
      }),
    ),
    enforcement: Type.Optional(
      Type.Union([Type.Literal('hard'), Type.Literal('soft')], {
        description: 'soft: recorded and flagged, never refused',
      }),
    ),
    when_away: Type.Optional(
      Type.Union([Type.Literal('closed'), Type.Literal('open')], {
        description:
          'What becomes of events while the counters cannot be asked: refused until they can, or taken uncounted',
      }),
    ),
    thresholds: Type.Optional(
      Type.Array(Type.String({ pattern: '^(\\d{1,4}%|\\d{1,26}(\\.\\d{1,12})?)$' }), {
        maxItems: MOST_THRESHOLDS,
        description: 'Levels at which to tell: shares of the limit, or quantities',
      }),
    ),
  },
  { additionalProperties: false },
)
export const Switch = Type.Object(
  { type: Type.Literal('boolean'), enabled: Type.Boolean() },
  { additionalProperties: false },
)
export const Value = Type.Object(
  { type: Type.Literal('static'), value: Type.Unknown({ description: `JSON, at most ${MOST_VALUE_BYTES} bytes` }) },
  { additionalProperties: false },
)
export const Entitlement = Type.Union([Metered, Switch, Value])
export type Entitlement = Static<typeof Entitlement>
export type Metered = Required<Static<typeof Metered>>

/** The nearest last: of a feature it says what holds. */
export const HOLDER_KINDS = ['plan', 'customer', 'subject'] as const
export type HolderKind = (typeof HOLDER_KINDS)[number]

/** Who is entitled, to what it is called. */
export type EntitlementKey = { holderKind: HolderKind; holder: string; feature: string }
export type StoredEntitlement = EntitlementKey & { entitlement: Entitlement }

export function withDefaults(given: Static<typeof Metered>): Metered {
  return { per: 'subject', enforcement: 'hard', when_away: 'closed', thresholds: [...DEFAULT_THRESHOLDS], ...given }
}

/** What is wrong with a static value; undefined if it can be stored. */
export function faultOfValue(value: unknown): string | undefined {
  const json = JSON.stringify(value ?? null)
  if (Buffer.byteLength(json) > MOST_VALUE_BYTES) return `must be at most ${MOST_VALUE_BYTES} bytes of JSON`
  // JSON.stringify escapes lone surrogates, and nothing else of that range.
  return /\\u(0000|d[89a-f])/i.test(json) ? 'must not hold the character 0 or halves of characters' : undefined
}
