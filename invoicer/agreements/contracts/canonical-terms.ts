import { Problem } from '../../../schemas/http/problem.ts'
import { canonicalOverrides } from './overrides.ts'
import { type Negotiating, priceCheck } from './private-plan.ts'
import type { AgreedTerms, RampPhase } from './terms.ts'

/**
 * Terms as they are stored, and compared when they are sent again: decimals in one spelling, and nothing that was left out.
 * @throws Problem invalid_request for prices that are none, and overrides beside phases.
 */
export function canonicalTerms({ overrides, phases, term }: AgreedTerms, deps: Negotiating): AgreedTerms {
  if (overrides !== undefined && phases !== undefined) {
    const errors = [{ path: 'overrides', message: 'Give them in the phases that they hold for.' }]
    throw new Problem('invalid_request', 'The subscription is not valid.', { errors })
  }
  return {
    ...(overrides === undefined ? {} : { overrides: canonicalOverrides(overrides, priceCheck(deps), 'overrides') }),
    ...(phases === undefined ? {} : { phases: phases.map((phase, index) => canonicalPhase(phase, index, deps)) }),
    ...(term === undefined ? {} : { term }),
  }
}

function canonicalPhase({ plan, overrides, for: lasts }: RampPhase, index: number, deps: Negotiating): RampPhase {
  const path = `phases.${index}.overrides`
  return {
    ...(plan === undefined ? {} : { plan }),
    ...(overrides === undefined ? {} : { overrides: canonicalOverrides(overrides, priceCheck(deps), path) }),
    ...(lasts === undefined ? {} : { for: lasts }),
  }
}
