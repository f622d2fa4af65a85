import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { formatMoney, MoneyText } from '../../../../schemas/money.ts'
import { formatQuantity, QuantityText } from '../../../../schemas/quantity.ts'
import type { CountedEvent } from '../../../billing/explain/counted-events.ts'
import type { Place } from '../../../billing/explain/events.ts'
import { type Explanation, explainInvoiceLine } from '../../../billing/explain/explain-invoice-line.ts'
import { pageOfEvents, shownUsage } from '../../../billing/explain/line-usage.ts'
import { lineOf } from '../../../billing/explain/open-invoice.ts'
import { type OpenedPlace, openLineOf } from '../../../billing/explain/open-line.ts'
import { PLACES, type Verification, type VerifyDeps, verifyInvoice } from '../../../billing/explain/verify-invoice.ts'
import { Id, Instant, instantText, Key, Nullable, pageMembers, pageOf, strict } from '../shapes.ts'

const Invoice = Type.String({ ...Key, description: 'Id or number of the invoice.' })
const InvoiceParams = Type.Object({ id: Invoice }, strict)
const LineParams = Type.Object(
  { id: Invoice, line: Type.String({ pattern: '^\\d{1,5}$', description: 'Index of the line: the first is 0.' }) },
  strict,
)

const step = {
  label: Type.String(),
  input: Type.String({ description: 'A decimal.' }),
  rule: Type.String({ description: 'What makes the output of the input.' }),
  output: Type.String({ description: 'A decimal; of the last step the amount of the line.' }),
}
const Leaf = Type.Object({ ...step, parts: Type.Array(Type.Object({})) })
const Step = Type.Object({ ...step, parts: Type.Array(Leaf) })
const Tree = Type.Object({ ...step, parts: Type.Array(Step) })

const seal = {
  id: '01890a5d-ac96-774b-bcce-b302099a8054',
  known_before: '2023-12-02T00:00:00.000Z',
  quantity: '21',
  events: 3,
  digest: '170141183460469231731687303715884105727',
}
const tiers = [
  { label: 'Tier 1 (up to 20)', input: '20', rule: '20 × 0.5 + 1', output: '11', parts: [] },
  { label: 'Tier 2', input: '1', rule: '1 × 0.255', output: '0.255', parts: [] },
]
const explanation = {
  invoice_id: '01890a5d-ac96-774b-bcce-b302099a8057',
  number: 'INV-000001',
  line: 0,
  charge: 'calls',
  currency: 'USD',
  amount: '11.26',
  plan: 'llm',
  price: {
    model: 'graduated',
    tiers: [
      { up_to: '20', unit_amount: '0.5', flat_amount: '1' },
      { up_to: null, unit_amount: '0.255' },
    ],
  },
  seal,
  tree: {
    ...{ label: 'Calls', input: '3', rule: 'step by step', output: '11.26' },
    parts: [
      {
        ...{ label: 'Events', input: '3', rule: 'each once, as known before 2023-12-02T00:00:00.000Z', output: '3' },
        parts: [],
      },
      { label: 'Meter calls', input: '3', rule: 'sum over times from … until before …', output: '21', parts: [] },
      { label: 'Price', input: '21', rule: 'the sum of the parts', output: '11.255', parts: tiers },
      { label: 'Rounding', input: '11.255', rule: 'to 2 places, halves away from zero', output: '11.26', parts: [] },
    ],
  },
  tax: null,
  discounts: [],
  equal: true,
  difference: null,
}

const ExplainAnswer = Type.Object(
  {
    invoice_id: Id,
    number: Nullable(Type.String()),
    line: Type.Integer(),
    charge: Type.String(),
    currency: Type.String(),
    amount: MoneyText,
    plan: Nullable(Type.String({ description: 'Whose charge it is.' })),
    price: Nullable(Type.Object({}, { additionalProperties: true, description: 'As the plan has it.' })),
    seal: Nullable(
      Type.Object(
        { id: Id, known_before: Instant, quantity: QuantityText, events: Type.Integer(), digest: Type.String() },
        { description: 'What was counted, and as of when.' },
      ),
    ),
    tree: Tree,
    tax: Nullable(Leaf),
    discounts: Type.Array(Leaf, { description: 'What discounts leave of it, one behind the other.' }),
    equal: Type.Boolean({ description: 'Whether plan and usage come to what is stored.' }),
    difference: Nullable(Type.String()),
  },
  { examples: [explanation] },
)

const EventAnswer = Type.Object({
  source: Type.String(),
  id: Type.String(),
  type: Type.String(),
  subject: Type.String(),
  time: Instant,
  known_at: Instant,
  data: Type.Object({}, { additionalProperties: true }),
  quantity: Type.String({ description: 'What the meter reads of it.' }),
  corrected: Type.Boolean({ description: 'Whether it was replaced: then what replaced it is shown.' }),
})
const event = {
  source: 'api',
  id: '01890a5d-ac96-774b-bcce-b302099a8050',
  type: 'llm.request',
  subject: 'customer-0',
  time: '2023-11-03T10:00:00.000Z',
  known_at: '2023-11-03T10:00:01.000Z',
  data: { calls: 7 },
  quantity: '7',
  corrected: false,
}

const VerificationAnswer = Type.Object(
  {
    invoice_id: Id,
    number: Nullable(Type.String()),
    equal: Type.Boolean(),
    difference: Nullable(
      Type.Object({
        where: Type.Enum(PLACES),
        line: Nullable(Type.Integer({ description: 'Null: the invoice as a whole.' })),
        what: Type.String(),
        expected: Type.String({ description: 'As it comes out now.' }),
        found: Type.String({ description: 'As it is stored.' }),
      }),
    ),
    checked: Type.Object(
      { lines: Type.Integer(), events: Type.Integer(), seals: Type.Integer() },
      { description: 'Until the first difference.' },
    ),
  },
  {
    examples: [
      {
        ...{ invoice_id: explanation.invoice_id, number: 'INV-000001', equal: false },
        difference: { where: 'rating', line: 0, what: 'amount', expected: '11.26', found: '11.25' },
        checked: { lines: 0, events: 3, seals: 0 },
      },
    ],
  },
)

/** Why an invoice says what it says. */
export function explainDoor(app: App, deps: VerifyDeps): void {
  const shared = { config: { permission: 'billing:invoices:read' } } as const
  const tags = ['invoices']
  app.get(
    '/api/v1/invoices/:id/lines/:line/explain',
    {
      ...shared,
      schema: {
        tags,
        summary: 'Explain a line step by step, from its events to its amount',
        params: LineParams,
        response: { 200: ExplainAnswer },
      },
    },
    async ({ caller, params }) => {
      const { shown, opened, index } = await openLineOf(deps.transact, caller.tenantId, params.id, Number(params.line))
      return explained(explainInvoiceLine(opened, index), shown)
    },
  )
  app.get(
    '/api/v1/invoices/:id/lines/:line/events',
    {
      ...shared,
      schema: {
        tags,
        summary: 'List the events that a line counted, as they were known then',
        params: LineParams,
        querystring: Type.Object(
          { limit: pageMembers.limit, after: Type.Optional(Type.String({ ...Key, maxLength: 8_192 })) },
          strict,
        ),
        response: {
          200: Type.Object(
            { events: Type.Array(EventAnswer), next: Nullable(Type.String()) },
            { examples: [{ events: [event], next: null }] },
          ),
        },
      },
    },
    async ({ caller, params, query }) => {
      const { opened, index } = await openLineOf(deps.transact, caller.tenantId, params.id, Number(params.line))
      const { asked } = lineOf(opened, index)
      if (asked === undefined) return { events: [], next: null }
      const { limit } = pageOf(query.limit === undefined ? {} : { limit: query.limit })
      const after = query.after === undefined ? undefined : placeOf(query.after)
      const { events, next } = await pageOfEvents(deps.events, caller.tenantId, asked, after, limit)
      return { events: events.map(eventAnswer), next: next === undefined ? null : cursorOf(next) }
    },
  )
  app.get(
    '/api/v1/invoices/:id/verification',
    {
      ...shared,
      schema: {
        tags,
        summary: 'Recompute an invoice from raw events, plan and seal, and compare',
        params: InvoiceParams,
        response: { 200: VerificationAnswer },
      },
    },
    async ({ caller, params }) => verified(await verifyInvoice(deps, caller.tenantId, params.id)),
  )
}

function explained(
  { invoice, opened, tree, tax, discounts, difference }: Explanation,
  shown: OpenedPlace['shown'],
): Static<typeof ExplainAnswer> {
  const { line, origin, cost, recomputed } = opened
  const plan = recomputed instanceof Problem ? undefined : recomputed?.plan
  return {
    invoice_id: shown.invoice.id,
    number: shown.invoice.number,
    line: shown.line,
    charge: line.chargeKey,
    currency: invoice.currency,
    amount: formatMoney(line.amountMinor, invoice.currency),
    plan: plan?.key ?? null,
    price: plan?.charges.find(({ key }) => key === line.chargeKey)?.price ?? null,
    seal:
      origin.seal && cost?.usage
        ? {
            id: origin.seal.id,
            known_before: instantText(origin.seal.knownBeforeMs),
            ...shownUsage(cost.usage),
          }
        : null,
    tree,
    tax,
    discounts,
    equal: difference === undefined,
    difference: difference ?? null,
  }
}

function eventAnswer({ identity, effective, quantity }: CountedEvent): Static<typeof EventAnswer> {
  const { source, id, first, operations } = identity
  return {
    source,
    id,
    type: effective.type,
    subject: effective.subject,
    time: instantText(effective.timeMs),
    known_at: instantText(first?.knownAtMs ?? effective.timeMs),
    data: JSON.parse(effective.dataJson),
    quantity: formatQuantity(quantity),
    corrected: operations.length > 0,
  }
}

function verified({ invoice, difference, checked }: Verification): Static<typeof VerificationAnswer> {
  return {
    invoice_id: invoice.id,
    number: invoice.number,
    equal: difference === undefined,
    difference: difference ?? null,
    checked,
  }
}

function cursorOf({ shard, source, id }: Place): string {
  return Buffer.from(JSON.stringify([shard, source, id])).toString('base64url')
}

/** @throws Problem invalid_request for what is not the `next` of a page. */
function placeOf(cursor: string): Place {
  const [shard, source, id] = partsOf(cursor)
  if (typeof shard === 'string' && /^\d{1,19}$/.test(shard) && typeof source === 'string' && typeof id === 'string') {
    return { shard, source, id }
  }
  throw new Problem('invalid_request', 'after is not the next of a page.', {
    errors: [{ path: 'after', message: 'is not the next of a page' }],
  })
}

function partsOf(cursor: string): unknown[] {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
    return Array.isArray(parts) ? parts : []
  } catch {
    return []
  }
}
