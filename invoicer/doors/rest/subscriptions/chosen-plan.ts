import { Type } from 'typebox'
import { Problem } from '../../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import { INTERVALS, type Interval } from '../../../../schemas/time/period.ts'
import { choosePlan } from '../../../agreements/plans/choose-plan.ts'
import { instantMs, Key } from '../shapes.ts'

/** The plan that a subscription begins with: by its key, or the one of a product that fits. */
export const planChoice = {
  plan: Type.Optional(Type.String({ ...Key, description: 'Key; or name a product and an interval.' })),
  product: Type.Optional(
    Type.String({
      ...Key,
      description: 'Id or key: its plan for this period in the currency of the customer, of which there must be one.',
    }),
  ),
  interval: Type.Optional(Type.Enum(INTERVALS, { description: 'With a product: a period is `every` of these.' })),
  every: Type.Optional(Type.Integer({ minimum: 1, maximum: 366, description: 'With a product; 1 unless told.' })),
}

type Chosen = {
  external_key: string
  customer: string
  start: string
  plan?: string
  product?: string
  interval?: Interval
  every?: number
}

/** @throws Problem invalid_request where nothing, or both, says which plan. */
export async function chosenPlan(tx: TenantTransaction, body: Chosen): Promise<string> {
  const { plan, product, interval, every } = body
  if (plan !== undefined && product === undefined && interval === undefined && every === undefined) return plan
  if (plan !== undefined || product === undefined || interval === undefined) {
    const message = 'Name a plan, or else a product and an interval.'
    throw new Problem('invalid_request', 'The subscription is not valid.', { errors: [{ path: 'plan', message }] })
  }
  const { external_key: externalKey, customer } = body
  const startMs = instantMs(body.start, 'start')
  return choosePlan(tx, { product, interval, every: every ?? 1, externalKey, customer, startMs })
}
