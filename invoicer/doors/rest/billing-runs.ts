import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import type { App, TenantId } from '../../../schemas/http/door.ts'
import type { BillingRunReport } from '../../billing/run/billing-run.ts'
import { openRun } from '../../billing/run/open-run.ts'
import { readRun } from '../../billing/run/read-run.ts'
import { type DoorDeps, Id, IdParams, Instant, instantMs, instantText, Nullable, strict } from './shapes.ts'

/** `startRun` works on the run in the background; what stops it stands in the run. */
export type BillingRunsDeps = DoorDeps & { startRun: (tenantId: TenantId, runId: string) => void }

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  state: 'completed',
  step: 'complete',
  as_of: '2023-12-02T00:00:00.000Z',
  seal: {
    id: '01890a5d-ac96-774b-bcce-b302099a8058',
    known_before: '2023-12-02T00:00:00.001Z',
    event_count: 19366,
    digest: '170141183460469231731687303715884105727',
  },
  subscriptions_due: 10,
  invoices_created: 10,
  parked: [],
  error: null,
}

const RunAnswer = Type.Object(
  {
    id: Id,
    state: Type.Union([Type.Literal('running'), Type.Literal('completed'), Type.Literal('failed')]),
    step: Type.String(),
    as_of: Instant,
    seal: Nullable(Type.Object({ id: Id, known_before: Instant, event_count: Type.Integer(), digest: Type.String() })),
    subscriptions_due: Type.Integer(),
    invoices_created: Type.Integer(),
    parked: Type.Array(Type.Object({ subscription_id: Id, reason: Type.String() })),
    error: Nullable(Type.String()),
  },
  { examples: [example] },
)

/** EPIC-3: billing runs, safe to start twice. */
export function billingRunsDoor(app: App, deps: BillingRunsDeps): void {
  const tags = ['billing runs']
  app.post(
    '/api/v1/billing-runs',
    {
      config: { permission: 'billing:runs:create' },
      onRequest: forgetTypeOfNothing,
      preValidation: takeNothingAsEmpty,
      schema: {
        tags,
        summary: 'Start a billing run for the periods due at a moment, by default now',
        description: 'A request without a body means `{}`.',
        body: Type.Object(
          {
            as_of: Type.Optional(
              Type.String({ ...Instant, description: 'Periods whose end and grace lie at or before it are billed.' }),
            ),
          },
          { ...strict, examples: [{ as_of: '2023-12-02T00:00:00Z' }] },
        ),
        response: { 202: RunAnswer },
      },
    },
    async (request, reply) => {
      const asOf = request.body.as_of
      const asOfMs = asOf === undefined ? null : instantMs(asOf, 'as_of')
      const { tenantId } = request.caller
      const run = await deps.transact(tenantId, (tx) => openRun(tx, { asOfMs }, deps))
      deps.startRun(tenantId, run.id)
      return reply.code(202).send(answer({ ...run, seal: null, invoicesCreated: 0, parked: [] }))
    },
  )
  app.get(
    '/api/v1/billing-runs/:id',
    {
      config: { permission: 'billing:runs:read' },
      schema: { tags, summary: 'Read a billing run', params: IdParams, response: { 200: RunAnswer } },
    },
    async (request) => answer(await deps.transact(request.caller.tenantId, (tx) => readRun(tx, request.params.id))),
  )
}

/** Some clients send a content type without a body: the parser of that type would miss the body. */
async function forgetTypeOfNothing({ headers }: FastifyRequest): Promise<void> {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = headers
  if (length === '0' && encoding === undefined) delete headers['content-type']
}

async function takeNothingAsEmpty(request: FastifyRequest): Promise<void> {
  if (request.body === undefined) request.body = {}
}

function answer(run: BillingRunReport): Static<typeof RunAnswer> {
  const { seal } = run
  return {
    id: run.id,
    state: run.state,
    step: run.step,
    as_of: instantText(run.asOfMs),
    seal: seal && {
      id: seal.id,
      known_before: instantText(seal.knownBeforeMs),
      event_count: seal.eventCount,
      digest: seal.digest,
    },
    subscriptions_due: run.subscriptionsDue ?? 0,
    invoices_created: run.invoicesCreated,
    parked: run.parked.map(({ subscriptionId, reason }) => ({ subscription_id: subscriptionId, reason })),
    error: run.error,
  }
}
