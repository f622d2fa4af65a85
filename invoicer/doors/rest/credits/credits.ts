import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText, formatMoney, MoneyText } from '../../../../schemas/money.ts'
import type { CreditGrant, CreditUse } from '../../../collection/credits/credit.ts'
import { grantCredit } from '../../../collection/credits/grant-credit.ts'
import { readCredit, readCreditUses } from '../../../collection/credits/read-credit.ts'
import { CreditScope } from '../../../collection/credits/terms.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantMs,
  instantText,
  instantTextOrNull,
  Key,
  listOf,
  Next,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
  Text,
} from '../shapes.ts'
import { newTerms, termsAnswer, termsFrom } from './credit-terms.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  external_key: 'welcome-ann',
  name: 'Welcome',
  amount: '39.00',
  remaining: '21.28',
  currency: 'USD',
  priority: 0,
  expires_at: null,
  scope: null,
  rollover: null,
  schedule_id: null,
  rolled_from: null,
  purchase_id: null,
  created_at: '2023-12-01T00:00:00.000Z',
}
const useExample = {
  id: '01890a5d-ac96-774b-bcce-b302099a8058',
  credit_id: example.id,
  kind: 'drawn' as const,
  amount: '17.72',
  invoice_id: '01890a5d-ac96-774b-bcce-b302099a8059',
  to_credit_id: null,
  at: '2024-01-01T01:00:00.000Z',
}

const NewCredit = Type.Object(
  {
    external_key: Type.String({
      ...Key,
      description: 'Unique among those of the customer: the same again answers the stored credit.',
    }),
    amount: Type.String({ ...MoneyText, description: "Above 0, in the customer's currency." }),
    name: Type.Optional(Nullable(Text(256))),
    priority: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 1000, description: 'The lowest pays first; 0 unless told.' }),
    ),
    expires_at: Type.Optional(Nullable(Type.String({ ...Instant, description: 'From then on it pays nothing.' }))),
    ...newTerms,
  },
  { ...strict, examples: [{ external_key: 'welcome-ann', amount: '39.00', name: 'Welcome' }] },
)

const CreditAnswer = Type.Object(
  {
    id: Id,
    external_key: Nullable(
      Type.String({ description: 'Null: a schedule gave it, it rolled over, or it was bought by itself.' }),
    ),
    name: Nullable(Type.String()),
    amount: MoneyText,
    remaining: MoneyText,
    currency: CurrencyText,
    priority: Type.Integer(),
    expires_at: Nullable(Instant),
    ...termsAnswer,
    schedule_id: Nullable(Id),
    rolled_from: Nullable(Type.String({ format: 'uuid', description: 'The credit of which this was left.' })),
    purchase_id: Nullable(Id),
    created_at: Type.String({ ...Instant, description: 'From when on it pays.' }),
  },
  { examples: [example] },
)

const UseAnswer = Type.Object({
  id: Id,
  credit_id: Id,
  kind: Type.Enum(['drawn', 'expired', 'rolled', 'returned', 'refunded']),
  amount: MoneyText,
  invoice_id: Nullable(Id),
  to_credit_id: Nullable(Type.String({ format: 'uuid', description: 'The credit that it became.' })),
  at: Instant,
})

const ScopeBalance = Type.Object({ scope: Nullable(CreditScope), balance: MoneyText })

const tags = ['credits']

/** Prepaid credit of customers: it pays the total of their invoices, tax included, when these are issued. */
export function creditsDoor(app: App, deps: DoorDeps): void {
  mountGiving(app, deps)
  mountBalance(app, deps)
  mountUses(app, deps)
}

function mountGiving(app: App, deps: DoorDeps): void {
  app.post(
    '/api/v1/customers/:id/credits',
    {
      config: { permission: 'billing:credits:create' },
      schema: {
        tags,
        summary: 'Give a customer prepaid credit; the same again answers the stored one',
        description:
          'Grants pay in the order of priority, then expiry, then age. A grant that has expired when an invoice is issued ' +
          'pays nothing of it. One with a scope pays its lines only; grants before it leave these to it as far as they can ' +
          'pay others.',
        params: IdParams,
        body: NewCredit,
        response: { 200: CreditAnswer, 201: CreditAnswer },
      },
    },
    async (request, reply) => {
      const { body } = request
      const input = {
        externalKey: body.external_key,
        customer: request.params.id,
        name: body.name ?? null,
        amount: body.amount,
        priority: body.priority ?? 0,
        expiresAtMs: body.expires_at == null ? null : instantMs(body.expires_at, 'expires_at'),
        ...termsFrom(body),
      }
      const { grant, created } = await deps.transact(request.caller.tenantId, (tx) => grantCredit(tx, input, deps))
      return reply.code(created ? 201 : 200).send(answer(grant))
    },
  )
}

function mountBalance(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/customers/:id/credits',
    {
      config: { permission: 'billing:credits:read' },
      schema: {
        tags,
        summary: "Read a customer's balance and its credit",
        params: IdParams,
        querystring: Type.Object(pageMembers, strict),
        response: {
          200: Type.Object(
            {
              balance: Type.String({ ...MoneyText, description: 'Of all scopes together.' }),
              balances: Type.Array(ScopeBalance),
              currency: CurrencyText,
              credits: Type.Array(CreditAnswer),
              next: Next,
            },
            {
              examples: [
                {
                  balance: '21.28',
                  balances: [{ scope: null, balance: '21.28' }],
                  currency: 'USD',
                  credits: [example],
                  next: null,
                },
              ],
            },
          ),
        },
      },
    },
    async (request) => {
      const page = pageOf(request.query)
      const { customer, balanceMinor, balances, grants } = await deps.transact(request.caller.tenantId, (tx) =>
        readCredit(tx, request.params.id, page, deps.now()),
      )
      const { currency } = customer
      const balance = formatMoney(balanceMinor, currency)
      const byScope = balances.map(({ scope, balanceMinor: ofScope }) => {
        return { scope, balance: formatMoney(ofScope, currency) }
      })
      return { balance, balances: byScope, currency, credits: grants.map(answer), next: nextOf(grants, page) }
    },
  )
}

function mountUses(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/customers/:id/credit-uses',
    {
      config: { permission: 'billing:credits:read' },
      schema: {
        tags,
        summary: "List where a customer's credit went: amount = remaining + the sum of its uses, always",
        params: IdParams,
        querystring: Type.Object(pageMembers, strict),
        response: { 200: listOf('uses', UseAnswer, useExample) },
      },
    },
    async (request) => {
      const page = pageOf(request.query)
      const { customer, uses } = await deps.transact(request.caller.tenantId, (tx) =>
        readCreditUses(tx, request.params.id, page),
      )
      return { uses: uses.map((use) => useAnswer(use, customer.currency)), next: nextOf(uses, page) }
    },
  )
}

function answer(grant: CreditGrant): Static<typeof CreditAnswer> {
  const { currency } = grant
  return {
    id: grant.id,
    external_key: grant.externalKey,
    name: grant.name,
    amount: formatMoney(grant.amountMinor, currency),
    remaining: formatMoney(grant.remainingMinor, currency),
    currency,
    priority: grant.priority,
    expires_at: instantTextOrNull(grant.expiresAtMs),
    scope: grant.scope,
    rollover: grant.rollover,
    schedule_id: grant.scheduleId,
    rolled_from: grant.rolledFrom,
    purchase_id: grant.purchaseId,
    created_at: instantText(grant.createdAtMs),
  }
}

function useAnswer(use: CreditUse, currency: string): Static<typeof UseAnswer> {
  return {
    id: use.id,
    credit_id: use.grantId,
    kind: use.kind,
    amount: formatMoney(use.amountMinor, currency),
    invoice_id: use.invoiceId,
    to_credit_id: use.toGrantId,
    at: instantText(use.atMs),
  }
}
