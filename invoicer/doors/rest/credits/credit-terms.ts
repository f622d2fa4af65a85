import { type Static, Type } from 'typebox'
import { MoneyText } from '../../../../schemas/money.ts'
import { CreditScope, Rollover } from '../../../collection/credits/terms.ts'
import { Key, Nullable, strict } from '../shapes.ts'

const Names = (what: string) =>
  Type.Optional(Type.Array(Key, { maxItems: 100, description: `It pays the lines of these ${what}.` }))

const NewScope = Type.Object(
  { meters: Names('meters'), charges: Names('charges, by their keys') },
  {
    ...strict,
    description:
      'It pays these lines and their tax alone. A line belongs to it by its meter or by its charge. Default: it pays anything.',
  },
)

const NewRollover = Type.Object(
  {
    max_amount: Type.Optional(Nullable(MoneyText)),
    max_percent: Type.Optional(
      Nullable(
        Type.String({
          pattern: '^\\d{1,3}(\\.\\d{1,12})?$',
          description: "Of the grant's amount; above 0, at most 100.",
        }),
      ),
    ),
    expires_after_days: Type.Optional(
      Nullable(
        Type.Integer({
          minimum: 1,
          maximum: 36_500,
          description:
            'What rolls over expires so many calendar days later, in the zone of the customer. Of a schedule, by default, ' +
            'as long as its grants last.',
        }),
      ),
    ),
    times: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000,
        description: 'How often what is left may roll over; once unless told.',
      }),
    ),
  },
  {
    ...strict,
    description:
      'What is left when it expires becomes credit of the same priority and scope, at most so much; the rest expires. ' +
      'Default: all of what is left expires.',
  },
)

/** Members of bodies and of answers. */
export const newTerms = {
  scope: Type.Optional(Nullable(NewScope)),
  rollover: Type.Optional(Nullable(NewRollover)),
}
export const termsAnswer = { scope: Nullable(CreditScope), rollover: Nullable(Rollover) }

type NewTerms = { scope?: Static<typeof NewScope> | null; rollover?: Static<typeof NewRollover> | null }

/** Names sorted, each once; what is not told is null. */
export function termsFrom({ scope, rollover }: NewTerms): { scope: CreditScope | null; rollover: Rollover | null } {
  const names = (list: readonly string[] = []) => [...new Set(list)].sort()
  return {
    scope: scope == null ? null : { meters: names(scope.meters), charges: names(scope.charges) },
    rollover: rollover == null ? null : rolloverFrom(rollover),
  }
}

function rolloverFrom({ max_amount, max_percent, expires_after_days, times }: Static<typeof NewRollover>): Rollover {
  return {
    max_amount: max_amount ?? null,
    max_percent: max_percent ?? null,
    expires_after_days: expires_after_days ?? null,
    times: times ?? 1,
  }
}
