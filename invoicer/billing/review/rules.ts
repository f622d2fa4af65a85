import { type Static, Type } from 'typebox'

const Percent = Type.String({
  pattern: '^\\d{1,6}(\\.\\d{1,6})?$',
  description: 'Of the amount before.',
  examples: ['100'],
})
const Amount = Type.String({
  pattern: '^\\d{1,15}(\\.\\d{1,4})?$',
  description: 'In major units of whichever currency the invoice has.',
  examples: ['100.00'],
})
const strict = { additionalProperties: false }
const Change = Type.Union([
  Type.Object({ percent: Percent, amount: Amount }, { ...strict, description: 'By at least both.' }),
  Type.Null(),
])

/** What of a run is an anomaly, as it is stored and as it is on the wire; null and false: never. */
export const AnomalyRules = Type.Object(
  {
    spike: Change,
    drop: Change,
    zero: Type.Boolean({ description: 'Something was billed before, and now nothing.' }),
    missing: Type.Boolean({ description: 'Something was billed before, and nothing comes any more.' }),
    parked: Type.Boolean({ description: 'It cannot be billed.' }),
    first_invoice_above: Type.Union([Amount, Type.Null()]),
  },
  strict,
)
export type AnomalyRules = Static<typeof AnomalyRules>

export const ANOMALIES = ['spike', 'drop', 'zero', 'missing', 'parked', 'first_invoice_above'] as const
export type Anomaly = (typeof ANOMALIES)[number]

/** Which runs wait for an approval before they bill anything. */
export const APPROVALS = ['never', 'on_anomaly', 'always'] as const
export type Approval = (typeof APPROVALS)[number]

export type ReviewSettings = { approval: Approval; rules: AnomalyRules }

/** Of a tenant that has set nothing: twice as much, or half, by 100 at least; a first invoice of more than 10,000. */
export const DEFAULT_SETTINGS: ReviewSettings = {
  approval: 'never',
  rules: {
    spike: { percent: '100', amount: '100.00' },
    drop: { percent: '50', amount: '100.00' },
    zero: true,
    missing: true,
    parked: true,
    first_invoice_above: '10000.00',
  },
}
