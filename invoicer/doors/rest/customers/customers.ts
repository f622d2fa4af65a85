import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText } from '../../../../schemas/money.ts'
import { changeCustomer } from '../../../agreements/customers/change-customer.ts'
import { createCustomer } from '../../../agreements/customers/create-customer.ts'
import type { Customer } from '../../../agreements/customers/customer.ts'
import { listCustomers } from '../../../agreements/customers/customers.postgres.ts'
import { readCustomer } from '../../../agreements/customers/read-customer.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantText,
  Key,
  listOf,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
  Text,
} from '../shapes.ts'
import {
  answerMembers,
  changedDetailsOf,
  changeMembers,
  detailMembers,
  detailsAnswer,
  detailsExample,
  detailsOf,
} from './billing-details.ts'
import { belowMembers, placeAnswer, placeAnswerMembers, placeExample, placeMembers, placeOf } from './hierarchy.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  external_key: 'customer-0',
  name: 'Customer 0',
  email: null,
  stripe_customer_id: null,
  currency: 'USD',
  timezone: 'UTC',
  subjects: ['customer-0'],
  ...detailsExample,
  ...placeExample,
  created_at: '2023-12-01T00:00:00.000Z',
}

const NewCustomer = Type.Object(
  {
    external_key: Key,
    name: Type.Optional(Nullable(Text(512))),
    email: Type.Optional(Nullable(Text(320))),
    currency: CurrencyText,
    timezone: Type.Optional(Text(64)),
    subjects: Type.Array(Key, { maxItems: 1000, uniqueItems: true, description: 'Whose usage the customer pays.' }),
    ...detailMembers,
    ...placeMembers,
  },
  {
    ...strict,
    examples: [{ external_key: 'customer-0', name: 'Customer 0', currency: 'USD', subjects: ['customer-0'] }],
  },
)

const ChangedDetails = Type.Object(
  { ...changeMembers, ...placeMembers },
  { ...strict, examples: [{ ...detailsExample, ...placeExample }] },
)

const CustomerAnswer = Type.Object(
  {
    id: Id,
    external_key: Type.String(),
    name: Nullable(Type.String()),
    email: Nullable(Type.String()),
    stripe_customer_id: Nullable(Type.String()),
    currency: Type.String(),
    timezone: Type.String(),
    subjects: Type.Array(Type.String()),
    ...answerMembers,
    ...placeAnswerMembers,
    created_at: Instant,
  },
  { examples: [example] },
)

const tags = ['customers']

/** TCP-2: customers. */
export function customersDoor(app: App, deps: DoorDeps): void {
  changingCustomers(app, deps)
  readingCustomers(app, deps)
}

function changingCustomers(app: App, deps: DoorDeps): void {
  app.post(
    '/api/v1/customers',
    {
      config: { permission: 'billing:customers:create' },
      schema: {
        tags,
        summary: 'Create a customer; the same again answers the stored one',
        body: NewCustomer,
        response: { 200: CustomerAnswer, 201: CustomerAnswer },
      },
    },
    async (request, reply) => {
      const { body } = request
      const input = {
        externalKey: body.external_key,
        name: body.name ?? null,
        email: body.email ?? null,
        currency: body.currency,
        timezone: body.timezone ?? 'UTC',
        subjects: body.subjects,
        ...detailsOf(body),
        ...placeOf(body),
      }
      const { customer, created } = await deps.transact(request.caller.tenantId, (tx) =>
        createCustomer(tx, input, deps),
      )
      return reply.code(created ? 201 : 200).send(answer(customer))
    },
  )
  app.patch(
    '/api/v1/customers/:id',
    {
      config: { permission: 'billing:customers:update' },
      schema: {
        tags,
        summary: 'Change the billing details of a customer, by id or external key',
        description:
          'What is given is changed, the rest stays, also of the address: {"billing_address": {"country": "GR"}} keeps ' +
          'its street. Invoices that are issued from now on follow it.',
        params: IdParams,
        body: ChangedDetails,
        response: { 200: CustomerAnswer },
      },
    },
    async ({ caller, params, body }) => {
      const change = { ...changedDetailsOf(body), ...placeOf(body) }
      return answer(await deps.transact(caller.tenantId, (tx) => changeCustomer(tx, params.id, change, deps)))
    },
  )
}

function readingCustomers(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/customers/:id',
    {
      config: { permission: 'billing:customers:read' },
      schema: {
        tags,
        summary: 'Read a customer by id or external key',
        params: IdParams,
        response: { 200: CustomerAnswer },
      },
    },
    async (request) =>
      answer(await deps.transact(request.caller.tenantId, (tx) => readCustomer(tx, request.params.id))),
  )
  app.get(
    '/api/v1/customers',
    {
      config: { permission: 'billing:customers:read' },
      schema: {
        tags,
        summary: 'List customers',
        querystring: Type.Object({ external_key: Type.Optional(Key), ...belowMembers, ...pageMembers }, strict),
        response: { 200: listOf('customers', CustomerAnswer, example) },
      },
    },
    async (request) => {
      const page = pageOf(request.query)
      const filter = { externalKey: request.query.external_key ?? null, parent: request.query.parent ?? null }
      const customers = await deps.transact(request.caller.tenantId, (tx) => listCustomers(tx, filter, page))
      return { customers: customers.map(answer), next: nextOf(customers, page) }
    },
  )
}

function answer(customer: Customer): Static<typeof CustomerAnswer> {
  return {
    id: customer.id,
    external_key: customer.externalKey,
    name: customer.name,
    email: customer.email,
    stripe_customer_id: customer.stripeCustomerId,
    currency: customer.currency,
    timezone: customer.timezone,
    subjects: customer.subjects,
    ...detailsAnswer(customer),
    ...placeAnswer(customer),
    created_at: instantText(customer.createdAtMs),
  }
}
