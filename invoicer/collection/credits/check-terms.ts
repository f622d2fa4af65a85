import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { parseMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import { listUnknownMeters } from './credits.postgres.ts'
import type { CreditScope, Rollover } from './terms.ts'

/**
 * The most that one grant may be, in minor units: thousands of them are still a balance that can be stored, so that what
 * comes by itself does not fail one day.
 */
const MOST_MINOR = 10n ** 15n

/** What may be wrong with an amount of credit. */
export function amountErrors(amountMinor: bigint): ProblemError[] {
  if (amountMinor <= 0n) return [{ path: 'amount', message: 'This must be above 0.' }]
  if (amountMinor > MOST_MINOR) return [{ path: 'amount', message: `This must be ${MOST_MINOR} minor units at most.` }]
  return []
}

type Terms = { scope: CreditScope | null; rollover: Rollover | null }

/** What may be wrong with a scope or a rollover by itself. @throws Problem invalid_request. */
export async function checkTerms(tx: TenantTransaction, { scope, rollover }: Terms, currency: string): Promise<void> {
  const errors: ProblemError[] = []
  if (scope !== null) {
    for (const meter of await listUnknownMeters(tx, scope.meters)) {
      errors.push({ path: 'scope.meters', message: `There is no meter ${JSON.stringify(meter)}.` })
    }
    if (scope.meters.length + scope.charges.length === 0) {
      errors.push({ path: 'scope', message: 'Name a meter or a charge, or leave the scope out.' })
    }
  }
  if (rollover?.max_amount != null && parseMoney(rollover.max_amount, currency) <= 0n) {
    errors.push({ path: 'rollover.max_amount', message: 'This must be above 0.' })
  }
  const percent = rollover?.max_percent == null ? undefined : parseQuantity(rollover.max_percent)
  if (percent !== undefined && (percent.lte(0) || percent.gt(100))) {
    errors.push({ path: 'rollover.max_percent', message: 'This must be above 0, and 100 at most.' })
  }
  if (errors.length > 0) throw new Problem('invalid_request', 'The credit is not valid.', { errors })
}
