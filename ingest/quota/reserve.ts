import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { type Granted, grantHold, type HoldInput } from './grant-hold.ts'
import type { QuotaDeps } from './quota-deps.ts'

/** Holds all of a quantity, or fails with `quota_exceeded` and what remains. */
export async function reserveQuota(deps: QuotaDeps, caller: Caller, key: string, input: HoldInput): Promise<Granted> {
  const granted = await grantHold(deps, caller, 'reserve', key, input)
  if (granted.quantity === '0')
    throw new Problem('quota_exceeded', 'What remains of the quota does not cover this quantity', {
      extra: granted.standing,
    })
  return granted
}
