import { type Static, Type } from 'typebox'
import { MoneyText } from '../../../schemas/money.ts'

const Names = (what: string) =>
  Type.Array(Type.String({ minLength: 1, maxLength: 256, pattern: '^[^\\p{Cc}\\p{Cs}]*$' }), {
    maxItems: 100,
    description: `It pays the lines of these ${what}, and their tax.`,
  })

/** What credit may pay: the lines of these meters and of these charges, with their tax. Kept sorted, each name once. */
export const CreditScope = Type.Object({ meters: Names('meters'), charges: Names('charges') })
export type CreditScope = Static<typeof CreditScope>

/**
 * What is left when credit expires becomes a grant of the same priority and scope, up to an amount, or to a percentage of
 * the grant's amount, or the smaller of both; the rest expires. `times` is how often it may do so: what rolled over has
 * one less. Without `expires_after_days`, of a schedule alone, the new expiry is the start of the schedule's next period.
 */
export const Rollover = Type.Object({
  max_amount: Type.Union([MoneyText, Type.Null()]),
  max_percent: Type.Union([Type.String({ pattern: '^\\d{1,3}(\\.\\d{1,12})?$' }), Type.Null()]),
  expires_after_days: Type.Union([Type.Integer({ minimum: 1, maximum: 36_500 }), Type.Null()]),
  times: Type.Integer({ minimum: 1, maximum: 1_000 }),
})
export type Rollover = Static<typeof Rollover>
