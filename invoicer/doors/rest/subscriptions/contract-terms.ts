import { isDeepStrictEqual } from 'node:util'
import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { INTERVALS } from '../../../../schemas/time/period.ts'
import { RENEWAL_PRICES, RENEWALS } from '../../../agreements/contracts/terms.ts'
import { canonicalPrice } from '../../../agreements/plans/plan-hash.ts'
import { type PhaseTerms, type ReadTerms, readTerms } from '../../../agreements/subscriptions/read-terms.ts'
import { ChargeAnswer, chargeShown } from '../catalog/plan-shapes.ts'
import { type DoorDeps, Id, IdParams, Instant, instantText, instantTextOrNull, Nullable } from '../shapes.ts'

const example = {
  subscription_id: '01890a5d-ac96-774b-bcce-b302099a8057',
  term: {
    ...{ interval: 'year' as const, count: 1, renewal: 'renew' as const, renew_on: 'same' as const, notice_days: 30 },
    cancelled_now_ends: '2024-11-01T00:00:00.000Z',
  },
  phases: [
    {
      ...{ start: '2023-11-01T00:00:00.000Z', end: null, kind: 'active' as const, billed: true },
      ...{ plan: 'llm', plan_version: 1, negotiated: true, removed_charges: ['base'] },
      plan_hash: '4f1c3d0b8a96e2750b6f4d1f9c8e7a6b5d4c3b2a19080706f5e4d3c2b1a09f8e',
      catalog_hash: '6b0c8eb6c6d8a5b4ff6b1a6d9a5e3d1a4c0f7f3b1c9d2e8a7b6c5d4e3f2a1b0c',
      charges: [
        {
          ...{ key: 'context', name: 'Context tokens', meter: 'context_tokens', negotiated: true },
          price: { model: 'per_unit' as const, unit_amount: '0.000002' },
        },
      ],
    },
  ],
}

const TermsAnswer = Type.Object(
  {
    subscription_id: Id,
    term: Nullable(
      Type.Object({
        interval: Type.Enum(INTERVALS),
        count: Type.Integer(),
        renewal: Type.Enum([...RENEWALS]),
        renew_on: Type.Enum([...RENEWAL_PRICES]),
        notice_days: Type.Integer(),
        cancelled_now_ends: Type.String({
          ...Instant,
          description: 'Where it would end, cancelled with `term_end` now.',
        }),
      }),
    ),
    phases: Type.Array(
      Type.Object({
        start: Instant,
        end: Nullable(Instant),
        kind: Type.Enum(['active', 'trial', 'paused']),
        billed: Type.Boolean(),
        plan: Type.String(),
        plan_version: Type.Integer(),
        plan_hash: Type.String({ description: 'That invoices quote: of the prices that hold for this customer.' }),
        catalog_hash: Type.String({
          description: 'Of the version of the catalogue; the same where nothing is negotiated.',
        }),
        negotiated: Type.Boolean(),
        charges: Type.Array(
          Type.Intersect([
            ChargeAnswer,
            Type.Object({ negotiated: Type.Boolean({ description: 'Its price is not that of the catalogue.' }) }),
          ]),
        ),
        removed_charges: Type.Array(Type.String(), { description: 'Charges of the plan that the customer has not.' }),
      }),
    ),
  },
  { examples: [example] },
)

/** What was negotiated with a customer, and what holds when. */
export function contractTermsDoor(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/subscriptions/:id/terms',
    {
      config: { permission: 'billing:subscriptions:read' },
      schema: {
        tags: ['subscriptions'],
        summary: 'Read the terms of a subscription: its phases with all prices, and its term',
        params: IdParams,
        response: { 200: TermsAnswer },
      },
    },
    async ({ caller, params }) =>
      answer(await deps.transact(caller.tenantId, (tx) => readTerms(tx, params.id, deps.now()))),
  )
}

function answer({ subscription, term, termEndMs, phases }: ReadTerms): Static<typeof TermsAnswer> {
  return {
    subscription_id: subscription.id,
    term:
      term === null || termEndMs === null
        ? null
        : {
            ...{ interval: term.interval, count: term.count, renewal: term.renewal, renew_on: term.renewOn },
            ...{ notice_days: term.noticeDays, cancelled_now_ends: instantText(termEndMs) },
          },
    phases: phases.map(phaseAnswer),
  }
}

function phaseAnswer({ phase, endMs, plan, base }: PhaseTerms): Static<typeof TermsAnswer>['phases'][number] {
  const listed = new Map((base ?? plan).charges.map((charge) => [charge.key, canonicalPrice(charge.price)]))
  const kept = new Set(plan.charges.map(({ key }) => key))
  return {
    start: instantText(phase.startMs),
    end: instantTextOrNull(endMs),
    kind: phase.kind,
    billed: phase.bills,
    plan: plan.key,
    plan_version: plan.version,
    plan_hash: plan.hash,
    catalog_hash: (base ?? plan).hash,
    negotiated: base !== null,
    charges: plan.charges.map((charge) => {
      const isListed = isDeepStrictEqual(listed.get(charge.key), canonicalPrice(charge.price))
      return { ...chargeShown(charge), negotiated: !isListed }
    }),
    removed_charges: [...listed.keys()].filter((key) => !kept.has(key)),
  }
}
