import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import type { App, TenantId } from '../../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import { approveRun } from '../../../billing/review/approve-run.ts'
import { cancelRun } from '../../../billing/review/cancel-run.ts'
import { collectCancelled } from '../../../billing/review/collect-cancelled.ts'
import { openRun } from '../../../billing/run/open-run.ts'
import { readRun } from '../../../billing/run/read-run.ts'
import { retryParked } from '../../../billing/run/retry-parked.ts'
import { listRunReports } from '../../../billing/run/run-report.postgres.ts'
import { withdrawAttempts } from '../../../collection/payments/withdraw-attempts.ts'
import { type DoorDeps, IdParams, Instant, instantMs, listOf, nextOf, pageMembers, pageOf, strict } from '../shapes.ts'
import { RunAnswer, RunState, runAnswer, runExample } from './billing-run-shapes.ts'

/** `startRun` works on the run in the background; what stops it stands in the run. */
export type BillingRunsDeps = DoorDeps & { startRun: (tenantId: TenantId, runId: string) => void }

const tags = ['billing runs']
const url = '/api/v1/billing-runs'

/** EPIC-3: billing runs, safe to start twice. */
export function billingRunsDoor(app: App, deps: BillingRunsDeps): void {
  startRoute(app, deps)
  readRoutes(app, deps)
  approveRoute(app, deps)
  cancelRoute(app, deps)
  collectRoute(app, deps)
  retryRoute(app, deps)
}

function startRoute(app: App, deps: BillingRunsDeps): void {
  app.post(
    url,
    {
      config: { permission: 'billing:runs:create' },
      ...TAKES_NOTHING,
      schema: {
        tags,
        summary: 'Start a billing run for the periods due at a moment, by default now',
        description:
          'A request without a body means `{}`. A dry run drafts what a run would bill, and bills nothing: its review ' +
          '(`GET /api/v1/billing-runs/{id}/review`) compares that with the periods before. It takes the usage that has ' +
          'been counted by now, without waiting for a seal.',
        body: Type.Object(
          {
            as_of: Type.Optional(
              Type.String({ ...Instant, description: 'Periods whose end and grace lie at or before it are billed.' }),
            ),
            dry_run: Type.Optional(Type.Boolean({ description: 'By default false.' })),
          },
          { ...strict, examples: [{ as_of: '2023-12-02T00:00:00Z', dry_run: true }] },
        ),
        response: { 202: RunAnswer },
      },
    },
    async (request, reply) => {
      const { as_of: asOf, dry_run: dryRun = false } = request.body
      const asOfMs = asOf === undefined ? null : instantMs(asOf, 'as_of')
      const open: Ask = async (tx) => (await openRun(tx, { asOfMs, dryRun }, deps)).id
      return reply.code(202).send(await goOn(deps, request.caller.tenantId, open))
    },
  )
}

function readRoutes(app: App, deps: BillingRunsDeps): void {
  app.get(
    url,
    {
      config: { permission: 'billing:runs:read' },
      schema: {
        tags,
        summary: 'List billing runs, the latest first',
        querystring: Type.Object({ ...pageMembers, state: Type.Optional(RunState) }, strict),
        response: { 200: listOf('billing_runs', RunAnswer, runExample) },
      },
    },
    async ({ caller, query }) => {
      const page = pageOf(query)
      const runs = await deps.transact(caller.tenantId, (tx) => listRunReports(tx, query.state ?? null, page))
      return { billing_runs: runs.map(runAnswer), next: nextOf(runs, page) }
    },
  )
  app.get(
    `${url}/:id`,
    {
      config: { permission: 'billing:runs:read' },
      schema: { tags, summary: 'Read a billing run', params: IdParams, response: { 200: RunAnswer } },
    },
    async (request) => runAnswer(await deps.transact(request.caller.tenantId, (tx) => readRun(tx, request.params.id))),
  )
}

function approveRoute(app: App, deps: BillingRunsDeps): void {
  app.post(
    `${url}/:id/approve`,
    {
      config: { permission: 'billing:runs:approve' },
      ...TAKES_NOTHING,
      schema: {
        tags,
        summary: 'Approve a billing run that awaits it',
        description:
          'It bills the same periods by the same usage as its review shows. Amounts are rated anew as invoices are ' +
          'issued: what else was changed since (subscriptions, items, discounts, tax) counts, and the review then shows ' +
          'what was issued. Again changes nothing.',
        params: IdParams,
        body: Nothing,
        response: { 202: RunAnswer },
      },
    },
    async ({ caller, params }, reply) => {
      const approve: Ask = async (tx) => {
        await approveRun(tx, params.id, caller.keyId, deps)
        return params.id
      }
      return reply.code(202).send(await goOn(deps, caller.tenantId, approve))
    },
  )
}

function cancelRoute(app: App, deps: BillingRunsDeps): void {
  app.post(
    `${url}/:id/cancel`,
    {
      config: { permission: 'billing:runs:create' },
      ...TAKES_NOTHING,
      schema: {
        tags,
        summary: 'Cancel a billing run that is not completed, for good',
        description:
          'Behind the answer nothing is issued by it any more, and no charge is begun: at most the 8 of each process that ' +
          'were on their way still come. What it issued stays, and can be charged with ' +
          '`POST /api/v1/billing-runs/{id}/collect`; everything else is due for the next run. That one is yours to start ' +
          'with `POST /api/v1/billing-runs`: until then the schedule opens none. Again changes nothing.',
        params: IdParams,
        body: Nothing,
        response: { 200: RunAnswer },
      },
    },
    async ({ caller, params }) => {
      const run = await deps.transact(caller.tenantId, async (tx) => {
        await cancelRun(tx, params.id, caller.keyId, deps)
        return readRun(tx, params.id)
      })
      await deps.transact(caller.tenantId, (tx) => withdrawAttempts(tx, run.id, deps))
      return runAnswer(run)
    },
  )
}

function collectRoute(app: App, deps: BillingRunsDeps): void {
  app.post(
    `${url}/:id/collect`,
    {
      config: { permission: 'billing:runs:create' },
      ...TAKES_NOTHING,
      schema: {
        tags,
        summary: 'Charge what a cancelled billing run has issued',
        description: 'Void or credit first what is wrong. Again changes nothing.',
        params: IdParams,
        body: Nothing,
        response: { 202: RunAnswer },
      },
    },
    async ({ caller, params }, reply) => {
      const collect: Ask = async (tx) => {
        await collectCancelled(tx, params.id, caller.keyId, deps)
        return params.id
      }
      return reply.code(202).send(await goOn(deps, caller.tenantId, collect))
    },
  )
}

function retryRoute(app: App, deps: BillingRunsDeps): void {
  app.post(
    `${url}/:id/retry-parked`,
    {
      config: { permission: 'billing:runs:create' },
      ...TAKES_NOTHING,
      schema: {
        tags,
        summary: 'Try again what a completed billing run has parked',
        description:
          'Answers a run with the same `as_of` and the same usage that bills those subscriptions alone: the one that ' +
          'tries them already, or a new one while some are parked still.',
        params: IdParams,
        body: Nothing,
        response: { 202: RunAnswer },
      },
    },
    async ({ caller, params }, reply) => {
      const retry: Ask = async (tx) => (await retryParked(tx, params.id, deps)).runId
      return reply.code(202).send(await goOn(deps, caller.tenantId, retry))
    },
  )
}

/** What changes a run, or makes one; answers the id of the run that is to go on. */
type Ask = (tx: TenantTransaction) => Promise<string>

/** Stores what was asked for, then works on the run behind the answer: killed between, the next tick goes on with it. */
async function goOn(deps: BillingRunsDeps, tenantId: TenantId, ask: Ask): Promise<Static<typeof RunAnswer>> {
  const run = await deps.transact(tenantId, async (tx) => readRun(tx, await ask(tx)))
  deps.startRun(tenantId, run.id)
  return runAnswer(run)
}

const Nothing = Type.Object({}, { ...strict, examples: [{}] })

/** A request without a body means `{}`. */
const TAKES_NOTHING = { onRequest: forgetTypeOfNothing, preValidation: takeNothingAsEmpty }

/** Some clients send a content type without a body: the parser of that type would miss the body. */
async function forgetTypeOfNothing({ headers }: FastifyRequest): Promise<void> {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = headers
  if (length === '0' && encoding === undefined) delete headers['content-type']
}

async function takeNothingAsEmpty(request: FastifyRequest): Promise<void> {
  if (request.body === undefined) request.body = {}
}
