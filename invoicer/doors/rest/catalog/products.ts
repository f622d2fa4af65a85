import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText } from '../../../../schemas/money.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import { INTERVALS } from '../../../../schemas/time/period.ts'
import { plansOfProducts } from '../../../agreements/plans/listings.postgres.ts'
import { changeProduct, createProduct, MOST_MEMBERS, readProduct } from '../../../agreements/products/create-product.ts'
import type { PlanOfProduct, Product } from '../../../agreements/products/product.ts'
import { listProducts } from '../../../agreements/products/products.postgres.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantText,
  instantTextOrNull,
  Key,
  listOf,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  Rehearsal,
  strict,
  Text,
  transactOf,
} from '../shapes.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8071',
  key: 'pro',
  name: 'Pro',
  description: 'For teams.',
  metadata: { page: 'pricing-pro' },
  prices: { EUR: '225', USD: '250' },
  archived_at: null,
  created_at: '2023-12-01T00:00:00.000Z',
  plans: [
    {
      key: 'pro-yearly-eur',
      version: 1,
      name: 'Pro, a year',
      currency: 'EUR',
      interval: 'year' as const,
      every: 1,
      kind: 'base' as const,
      archived_at: null,
    },
  ],
}

const Description = Nullable(Text(4_000))
const NAMES = '^[^\\p{Cc}\\p{Cs}]{1,64}$'
const CURRENCIES = '^[A-Z]{3}$'
const PRICE = '^\\d{1,26}(\\.\\d{1,12})?$'
const UnitAmount = Type.String({ pattern: PRICE, maxLength: 40, description: 'Above 0, in major units.' })
/** Members of a record whose names are of a form. */
const Members = <Value extends Parameters<typeof Type.Record>[1]>(
  names: string,
  value: Value,
  description: string,
  maxProperties = MOST_MEMBERS,
) => Type.Record(Type.String({ pattern: names }), value, { ...strict, maxProperties, description })
/** One call may take all away and set as many others. */
const MOST_CHANGED = 2 * MOST_MEMBERS
const thenLeft = `null takes one away, the others stay; at most ${MOST_MEMBERS} are left.`

const aboutPrices = 'What a unit costs that is sold once, by currency: one-time items may name the product instead.'
const NewProduct = Type.Object(
  {
    key: Type.String({ ...Key, description: 'Unique: the same again answers the stored product.' }),
    name: Text(512),
    description: Type.Optional(Description),
    metadata: Type.Optional(Members(NAMES, Text(512), 'Texts by name, for whoever sells it.')),
    prices: Type.Optional(Members(CURRENCIES, UnitAmount, aboutPrices)),
  },
  {
    ...strict,
    examples: [{ key: 'pro', name: 'Pro', metadata: { page: 'pricing-pro' }, prices: { EUR: '225', USD: '250' } }],
  },
)
const ChangedProduct = Type.Object(
  {
    name: Type.Optional(Text(512)),
    description: Type.Optional(Description),
    metadata: Type.Optional(Members(NAMES, Nullable(Text(512)), `By name; ${thenLeft}`, MOST_CHANGED)),
    prices: Type.Optional(Members(CURRENCIES, Nullable(UnitAmount), `By currency; ${thenLeft}`, MOST_CHANGED)),
    archived: Type.Optional(
      Type.Boolean({ description: 'true: nothing new of it is sold, and what is subscribed to goes on.' }),
    ),
  },
  { ...strict, examples: [{ name: 'Pro plus', prices: { USD: '275' } }, { archived: true }] },
)

const PlanOfProductAnswer = Type.Object({
  key: Type.String(),
  version: Type.Integer({ description: 'That in effect now.' }),
  name: Type.String(),
  currency: CurrencyText,
  interval: Type.Enum(INTERVALS),
  every: Type.Integer(),
  kind: Type.Enum(['base', 'add_on']),
  archived_at: Nullable(Instant),
})
const ProductAnswer = Type.Object(
  {
    id: Id,
    key: Type.String(),
    name: Type.String(),
    description: Nullable(Type.String()),
    metadata: Type.Record(Type.String(), Type.String()),
    prices: Type.Record(Type.String(), Type.String(), { description: aboutPrices }),
    plans: Type.Array(PlanOfProductAnswer, { description: 'By currency, the shortest period first.' }),
    archived_at: Nullable(Instant),
    created_at: Instant,
  },
  { examples: [example] },
)

const tags = ['products']
const url = '/api/v1/products'

/** What is sold: plans in several currencies and periods under one name, and one-time prices. */
export function productsDoor(app: App, deps: DoorDeps): void {
  mountWriting(app, deps)
  mountReading(app, deps)
}

function mountWriting(app: App, deps: DoorDeps): void {
  const config = { permission: 'billing:plans:create' } as const
  app.post(
    url,
    {
      config,
      schema: {
        tags,
        summary: 'Create a product; the same again answers the stored one',
        querystring: Rehearsal,
        body: NewProduct,
        response: { 200: ProductAnswer, 201: ProductAnswer },
      },
    },
    async ({ caller, body, query }, reply) => {
      const { key, name, description = null, metadata = {}, prices = {} } = body
      const { answer, created } = await transactOf(deps, query)(caller.tenantId, async (tx) => {
        const { product, created } = await createProduct(tx, { key, name, description, metadata, prices }, deps)
        return { answer: await oneShown(tx, product, deps.now()), created }
      })
      return reply.code(created ? 201 : 200).send(answer)
    },
  )
  app.patch(
    `${url}/:id`,
    {
      config,
      schema: {
        tags,
        summary: 'Change, archive or take up again a product, by id or key',
        description: 'What is given is changed, the rest stays. One-time items that were made keep their price.',
        params: IdParams,
        querystring: Rehearsal,
        body: ChangedProduct,
        response: { 200: ProductAnswer },
      },
    },
    async ({ caller, params, body, query }) =>
      transactOf(deps, query)(caller.tenantId, async (tx) =>
        oneShown(tx, await changeProduct(tx, params.id, body, deps), deps.now()),
      ),
  )
}

function mountReading(app: App, deps: DoorDeps): void {
  const config = { permission: 'billing:plans:read' } as const
  app.get(
    `${url}/:id`,
    {
      config,
      schema: {
        tags,
        summary: 'Read a product by id or key, with its plans by currency and period',
        params: IdParams,
        response: { 200: ProductAnswer },
      },
    },
    async ({ caller, params }) =>
      deps.transact(caller.tenantId, async (tx) => oneShown(tx, await readProduct(tx, params.id), deps.now())),
  )
  app.get(
    url,
    {
      config,
      schema: {
        tags,
        summary: 'List products, archived ones included',
        querystring: Type.Object(pageMembers, strict),
        response: { 200: listOf('products', ProductAnswer, example) },
      },
    },
    async ({ caller, query }) => {
      const page = pageOf(query)
      return deps.transact(caller.tenantId, async (tx) => {
        const products = await listProducts(tx, page)
        return { products: await shown(tx, products, deps.now()), next: nextOf(products, page) }
      })
    },
  )
}

async function oneShown(tx: TenantTransaction, product: Product, nowMs: number) {
  return answer(product, (await plansOfProducts(tx, [product.id], nowMs)).get(product.id) ?? [])
}

async function shown(tx: TenantTransaction, products: readonly Product[], nowMs: number) {
  const ids = products.map(({ id }) => id)
  const plans = await plansOfProducts(tx, ids, nowMs)
  return products.map((product) => answer(product, plans.get(product.id) ?? []))
}

function answer(product: Product, plans: readonly PlanOfProduct[]): Static<typeof ProductAnswer> {
  return {
    id: product.id,
    key: product.key,
    name: product.name,
    description: product.description,
    metadata: { ...product.metadata },
    prices: { ...product.prices },
    plans: plans.map(({ archivedAtMs, ...plan }) => ({ ...plan, archived_at: instantTextOrNull(archivedAtMs) })),
    archived_at: instantTextOrNull(product.archivedAtMs),
    created_at: instantText(product.createdAtMs),
  }
}
