import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText, formatMoney, MoneyText } from '../../../../schemas/money.ts'
import { formatQuantity, quantityOfInteger } from '../../../../schemas/quantity.ts'
import { listDrafts, type StoredDraft } from '../../../billing/review/drafts.postgres.ts'
import { reviewCsv } from '../../../billing/review/review-csv.ts'
import { ANOMALIES } from '../../../billing/review/rules.ts'
import { countAnomalies, type ReviewTotals, sumDrafts } from '../../../billing/review/totals.postgres.ts'
import { readRun } from '../../../billing/run/read-run.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantText,
  instantTextOrNull,
  Next,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
} from '../shapes.ts'
import { RunState } from './billing-run-shapes.ts'

const Kind = Type.Union([Type.Literal('invoice'), Type.Literal('parked'), Type.Literal('missing')])
const Anomaly = Type.Enum([...ANOMALIES])
const Percent = Nullable(Type.String({ description: 'Of the amount before; null where that is 0 or nothing.' }))

const draftExample = {
  id: '01890a5d-ac96-774b-bcce-b302099a8061',
  kind: 'invoice',
  subscription_id: '01890a5d-ac96-774b-bcce-b302099a8055',
  subscription: 'customer-0-llm',
  customer_id: '01890a5d-ac96-774b-bcce-b302099a8054',
  customer: 'customer-0',
  period_start: '2023-12-01T00:00:00.000Z',
  period_end: '2024-01-01T00:00:00.000Z',
  off_cycle: false,
  currency: 'USD',
  amount: '431.84',
  previous: '31.84',
  change: '400.00',
  change_percent: '1256.28',
  lines: 3,
  anomalies: ['spike'],
  reason: null,
  issued: null,
}
const Draft = Type.Object(
  {
    id: Id,
    kind: Kind,
    subscription_id: Id,
    subscription: Type.String({ description: 'Its external key.' }),
    customer_id: Id,
    customer: Type.String({ description: 'Its external key.' }),
    period_start: Instant,
    period_end: Nullable(Instant),
    off_cycle: Type.Boolean({ description: 'It stands beside the periods, and is compared with nothing.' }),
    currency: CurrencyText,
    amount: Type.String({ ...MoneyText, description: 'The total, tax included, before prepaid credit and balance.' }),
    previous: Nullable(
      Type.String({ ...MoneyText, description: 'The total of the period before; null: there is none.' }),
    ),
    change: MoneyText,
    change_percent: Percent,
    lines: Type.Integer(),
    anomalies: Type.Array(Anomaly),
    reason: Nullable(Type.String({ description: 'Why it would be parked.' })),
    issued: Nullable(Type.String({ ...MoneyText, description: 'What this run has issued for the period since.' })),
  },
  { examples: [draftExample] },
)

const totalsExample = {
  currency: 'USD',
  amount: '431.84',
  previous: '31.84',
  change: '400.00',
  change_percent: '1256.28',
  invoices: 1,
  new: 0,
  gone: 0,
  parked: 0,
}
const Totals = Type.Object({
  currency: CurrencyText,
  amount: MoneyText,
  previous: MoneyText,
  change: MoneyText,
  change_percent: Percent,
  invoices: Type.Integer(),
  new: Type.Integer({ description: 'Invoices of subscriptions without a period before.' }),
  gone: Type.Integer({ description: 'Subscriptions that have ended, whose next period this run would have billed.' }),
  parked: Type.Integer(),
})

const Review = Type.Object(
  {
    billing_run_id: Id,
    state: RunState,
    complete: Type.Boolean({ description: 'Everything is drafted.' }),
    totals: Type.Array(Totals),
    anomalies: Type.Record(Type.String(), Type.Integer(), { description: 'How many drafts have which.' }),
    drafts: Type.Array(Draft, { description: 'The largest changes first, up or down, in minor units.' }),
    next: Next,
  },
  {
    examples: [
      {
        billing_run_id: '01890a5d-ac96-774b-bcce-b302099a8057',
        state: 'awaiting_approval',
        complete: true,
        totals: [totalsExample],
        anomalies: { spike: 1 },
        drafts: [draftExample],
        next: null,
      },
    ],
  },
)

/** What a run would bill, or has drafted before it billed, beside the periods before. */
export function billingRunReviewDoor(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/billing-runs/:id/review',
    {
      config: { permission: 'billing:runs:read' },
      schema: {
        tags: ['billing runs'],
        summary: 'Compare what a billing run drafted with the periods before, as JSON or CSV',
        description: 'Runs that were neither dry nor to be approved have no drafts.',
        params: IdParams,
        querystring: Type.Object(
          {
            ...pageMembers,
            kind: Type.Optional(Kind),
            currency: Type.Optional(CurrencyText),
            anomalies: Type.Optional(Type.Literal('only', { description: 'Only drafts that have any.' })),
            format: Type.Optional(Type.Union([Type.Literal('json'), Type.Literal('csv')])),
          },
          strict,
        ),
        response: { 200: Review },
      },
    },
    async ({ caller, params, query }, reply) => {
      const page = pageOf(query)
      const filter = {
        onlyAnomalies: query.anomalies === 'only',
        kind: query.kind ?? null,
        currency: query.currency ?? null,
      }
      const { run, drafts, totals, anomalies } = await deps.transact(caller.tenantId, async (tx) => {
        const run = await readRun(tx, params.id)
        const drafts = await listDrafts(tx, run.id, filter, page)
        // They are of all drafts, and a CSV has none: whoever pages through one does not pay for them each time.
        if (query.format === 'csv') return { run, drafts, totals: [], anomalies: [] }
        return { run, drafts, totals: await sumDrafts(tx, run.id), anomalies: await countAnomalies(tx, run.id) }
      })
      const next = nextOf(drafts, page)
      if (query.format === 'csv') {
        if (next !== null) reply.header('x-next-cursor', next)
        // The serializer is for JSON alone, so text goes out as it is.
        reply.header('content-type', 'text/csv; charset=utf-8').serializer((payload: unknown) => String(payload))
        return reviewCsv(drafts) as never
      }
      return {
        billing_run_id: run.id,
        state: run.state,
        complete: run.isDrafted,
        totals: totals.map(totalsAnswer),
        anomalies: Object.fromEntries(anomalies),
        drafts: drafts.map(draftAnswer),
        next,
      }
    },
  )
}

function draftAnswer(draft: StoredDraft): Static<typeof Draft> {
  const money = (minor: bigint) => formatMoney(minor, draft.currency)
  return {
    id: draft.id,
    kind: draft.kind,
    subscription_id: draft.subscriptionId,
    subscription: draft.subscription,
    customer_id: draft.customerId,
    customer: draft.customer,
    period_start: instantText(draft.periodStartMs),
    period_end: instantTextOrNull(draft.periodEndMs),
    off_cycle: draft.offCycle,
    currency: draft.currency,
    amount: money(draft.amountMinor),
    previous: draft.previousMinor === null ? null : money(draft.previousMinor),
    change: money(draft.changeMinor),
    change_percent: percentOf(draft.changeMinor, draft.previousMinor ?? 0n),
    lines: draft.lineCount,
    anomalies: draft.anomalies,
    reason: draft.reason,
    issued: draft.issuedMinor === null ? null : money(draft.issuedMinor),
  }
}

function totalsAnswer(totals: ReviewTotals): Static<typeof Totals> {
  const { currency, amountMinor, previousMinor } = totals
  const money = (minor: bigint) => formatMoney(minor, currency)
  return {
    currency,
    amount: money(amountMinor),
    previous: money(previousMinor),
    change: money(amountMinor - previousMinor),
    change_percent: percentOf(amountMinor - previousMinor, previousMinor),
    invoices: totals.invoices,
    new: totals.newSubscriptions,
    gone: totals.gone,
    parked: totals.parked,
  }
}

/** With two decimals. */
function percentOf(changeMinor: bigint, previousMinor: bigint): string | null {
  if (previousMinor === 0n) return null
  const base = quantityOfInteger(previousMinor < 0n ? -previousMinor : previousMinor)
  return formatQuantity(quantityOfInteger(changeMinor).times(100).div(base).toDecimalPlaces(2))
}
