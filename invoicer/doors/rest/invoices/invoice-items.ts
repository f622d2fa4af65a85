import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText, formatMoney, MoneyText } from '../../../../schemas/money.ts'
import { QuantityText } from '../../../../schemas/quantity.ts'
import { readCustomer } from '../../../agreements/customers/read-customer.ts'
import { TAX_CLASS } from '../../../agreements/plans/tax-class.ts'
import { createItem } from '../../../billing/items/create-item.ts'
import { deleteItem, readItem } from '../../../billing/items/delete-item.ts'
import type { OneTimeItem } from '../../../billing/items/invoice-item.ts'
import { listItems } from '../../../billing/items/items.postgres.ts'
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

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8060',
  external_key: 'setup-ann',
  customer_id: '01890a5d-ac96-774b-bcce-b302099a8056',
  subscription_id: null,
  description: 'Setup',
  amount: '250.00',
  currency: 'USD',
  quantity: '2',
  unit_amount: '125',
  product: 'setup',
  tax_class: null,
  state: 'pending' as const,
  invoice_id: null,
  created_at: '2023-12-01T00:00:00.000Z',
}

const NewItem = Type.Object(
  {
    external_key: Type.String({ ...Key, description: 'Unique: the same again answers the stored item.' }),
    customer: Type.Optional(Type.String({ ...Key, description: 'Id or external key; or name a subscription.' })),
    subscription: Type.Optional(
      Nullable(Type.String({ ...Key, description: 'Id or external key: on its next invoice, else on any.' })),
    ),
    description: Type.Optional(
      Type.String({ ...Text(1000), description: 'What invoices show; of a product its name, unless told.' }),
    ),
    product: Type.Optional(
      Type.String({
        ...Key,
        description: "Id or key: a unit costs its one-time price in the customer's currency; one unless told.",
      }),
    ),
    amount: Type.Optional(Type.String({ ...MoneyText, description: "In the customer's currency; below 0 gives." })),
    quantity: Type.Optional(QuantityText),
    unit_amount: Type.Optional(Type.String({ ...QuantityText, description: 'What a unit costs, in major units.' })),
    currency: Type.Optional(CurrencyText),
    tax_class: Type.Optional(
      Nullable(Type.String({ pattern: TAX_CLASS, description: 'What is sold, as tax rates name it.' })),
    ),
  },
  {
    ...strict,
    examples: [
      { external_key: 'setup-ann', customer: 'ann', description: 'Setup', quantity: '2', unit_amount: '125' },
      { external_key: 'setup-bob', customer: 'bob', product: 'setup' },
    ],
  },
)

const ItemAnswer = Type.Object(
  {
    id: Id,
    external_key: Type.String(),
    customer_id: Id,
    subscription_id: Nullable(Id),
    description: Type.String(),
    amount: MoneyText,
    currency: CurrencyText,
    quantity: Nullable(Type.String()),
    unit_amount: Nullable(Type.String()),
    tax_class: Nullable(Type.String()),
    product: Nullable(Type.String({ description: 'The key of the product whose price it has.' })),
    state: Type.Enum(['pending', 'invoiced', 'deleted']),
    invoice_id: Nullable(Id),
    created_at: Instant,
  },
  { examples: [example] },
)

const tags = ['invoices']
const url = '/api/v1/invoice-items'

/** What is charged once, on the next invoice behind its usage lines. */
export function invoiceItemsDoor(app: App, deps: DoorDeps): void {
  mountWriting(app, deps)
  mountReading(app, deps)
}

function mountWriting(app: App, deps: DoorDeps): void {
  app.post(
    url,
    {
      config: { permission: 'billing:invoice-items:create' },
      schema: {
        tags,
        summary: 'Put a one-time item on the next invoice; the same again answers the stored one',
        body: NewItem,
        response: { 200: ItemAnswer, 201: ItemAnswer },
      },
    },
    async ({ caller, body }, reply) => {
      const input = {
        externalKey: body.external_key,
        customer: body.customer ?? null,
        subscription: body.subscription ?? null,
        description: body.description ?? null,
        product: body.product ?? null,
        currency: body.currency ?? null,
        amount: body.amount ?? null,
        quantity: body.quantity ?? null,
        unitAmount: body.unit_amount ?? null,
        taxClass: body.tax_class ?? null,
      }
      const { item, created } = await deps.transact(caller.tenantId, (tx) => createItem(tx, input, deps))
      return reply.code(created ? 201 : 200).send(answer(item))
    },
  )
  app.delete(
    `${url}/:id`,
    {
      config: { permission: 'billing:invoice-items:create' },
      schema: {
        tags,
        summary: 'Take back an item that no invoice has yet; it stays, deleted',
        params: IdParams,
        response: { 200: ItemAnswer },
      },
    },
    async ({ caller, params }) => answer(await deps.transact(caller.tenantId, (tx) => deleteItem(tx, params.id, deps))),
  )
}

function mountReading(app: App, deps: DoorDeps): void {
  app.get(
    `${url}/:id`,
    {
      config: { permission: 'billing:invoices:read' },
      schema: { tags, summary: 'Read a one-time item', params: IdParams, response: { 200: ItemAnswer } },
    },
    async ({ caller, params }) => answer(await deps.transact(caller.tenantId, (tx) => readItem(tx, params.id))),
  )
  app.get(
    url,
    {
      config: { permission: 'billing:invoices:read' },
      schema: {
        tags,
        summary: 'List one-time items',
        querystring: Type.Object(
          {
            customer: Type.Optional(Type.String({ ...Key, description: 'Id or external key.' })),
            state: Type.Optional(Type.Enum(['pending', 'invoiced', 'deleted'])),
            ...pageMembers,
          },
          strict,
        ),
        response: { 200: listOf('items', ItemAnswer, example) },
      },
    },
    async ({ caller, query }) => {
      const page = pageOf(query)
      const items = await deps.transact(caller.tenantId, async (tx) => {
        const customerId = query.customer === undefined ? null : (await readCustomer(tx, query.customer)).id
        return listItems(tx, { customerId, state: query.state ?? null }, page)
      })
      return { items: items.map(answer), next: nextOf(items, page) }
    },
  )
}

function answer(item: OneTimeItem): Static<typeof ItemAnswer> {
  return {
    id: item.id,
    external_key: item.externalKey,
    customer_id: item.customerId,
    subscription_id: item.subscriptionId,
    description: item.description,
    amount: formatMoney(item.amountMinor, item.currency),
    currency: item.currency,
    quantity: item.quantity,
    unit_amount: item.unitAmount,
    tax_class: item.taxClass,
    product: item.productKey,
    state: item.state,
    invoice_id: item.invoiceId,
    created_at: instantText(item.createdAtMs),
  }
}
