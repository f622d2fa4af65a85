import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { MoneyText } from '../../../../schemas/money.ts'
import {
  changeInvoiceSettings,
  changeInvoiceTexts,
  readInvoiceTexts,
  type TextsOwner,
} from '../../../agreements/invoice-settings/change-settings.ts'
import { findInvoiceSettings } from '../../../agreements/invoice-settings/invoice-settings.postgres.ts'
import { type DoorDeps, Key, strict } from '../shapes.ts'
import { NewTexts, TextsAnswer, textsAnswer, textsOf } from './invoice-texts.ts'

const example = { zero_invoices: 'suppress' as const, least_due: { USD: '5.00', EUR: '5.00' } }

const Settings = Type.Object(
  {
    zero_invoices: Type.Union([Type.Literal('issue'), Type.Literal('suppress')], {
      description:
        'Whether an invoice that bills nothing is issued and counts as paid, or takes no number and is shown to nobody. ' +
        'Its period counts as billed either way.',
    }),
    least_due: Type.Record(Type.String({ pattern: '^[A-Z]{3}$' }), MoneyText, {
      ...strict,
      maxProperties: 200,
      description:
        'By currency: an amount due below it is carried forward to the next invoice of the customer in that currency.',
    }),
  },
  { ...strict, examples: [example] },
)

const tags = ['invoices']
const update = { permission: 'billing:invoice-settings:update' } as const
const read = { permission: 'billing:invoices:read' } as const
const OWNERS = [
  { kind: 'customer', url: '/api/v1/customers/:owner/invoice-texts' },
  { kind: 'subscription', url: '/api/v1/subscriptions/:owner/invoice-texts' },
  { kind: 'legal_entity', url: '/api/v1/legal-entities/:owner/invoice-texts' },
] as const
const OwnerParams = Type.Object({ owner: Type.String({ ...Key, description: 'Id or key.' }) }, strict)

/** How a tenant's invoices are made, and what they show beside amounts. What is issued stays as it was. */
export function invoiceSettingsDoor(app: App, deps: DoorDeps): void {
  app.put(
    '/api/v1/invoice-settings',
    {
      config: update,
      schema: { tags, summary: 'Say how invoices are made from now on', body: Settings, response: { 200: Settings } },
    },
    async ({ caller, body }) => {
      const wanted = { zeroInvoices: body.zero_invoices, leastDue: body.least_due }
      return answer(await deps.transact(caller.tenantId, (tx) => changeInvoiceSettings(tx, wanted, deps)))
    },
  )
  app.get(
    '/api/v1/invoice-settings',
    { config: read, schema: { tags, summary: 'Read how invoices are made', response: { 200: Settings } } },
    async ({ caller }) => answer((await deps.transact(caller.tenantId, findInvoiceSettings)).settings),
  )
  const summary = 'Say what all invoices of the tenant show beside amounts, from now on'
  app.put(
    '/api/v1/invoice-texts',
    { config: update, schema: { tags, summary, body: NewTexts, response: { 200: TextsAnswer } } },
    async ({ caller, body }) => put(deps, caller.tenantId, { kind: 'tenant' }, body),
  )
  app.get(
    '/api/v1/invoice-texts',
    { config: read, schema: { tags, summary: 'Read the same', response: { 200: TextsAnswer } } },
    async ({ caller }) => get(deps, caller.tenantId, { kind: 'tenant' }),
  )
  for (const owner of OWNERS) textsRoutes(app, deps, owner)
}

function textsRoutes(app: App, deps: DoorDeps, { kind, url }: (typeof OWNERS)[number]): void {
  const whose = `a ${kind.replace('_', ' ')}`
  app.put(
    url,
    {
      config: update,
      schema: {
        tags,
        summary: `Say what invoices of ${whose} show beside amounts, from now on`,
        description:
          'All of it is replaced. The nearest one that says something is heard: subscription, customer, legal entity, ' +
          'tenant; of custom fields name by name.',
        params: OwnerParams,
        body: NewTexts,
        response: { 200: TextsAnswer },
      },
    },
    async ({ caller, params, body }) => put(deps, caller.tenantId, { kind, key: params.owner }, body),
  )
  app.get(
    url,
    {
      config: read,
      schema: {
        tags,
        summary: `Read what invoices of ${whose} show beside amounts`,
        params: OwnerParams,
        response: { 200: TextsAnswer },
      },
    },
    async ({ caller, params }) => get(deps, caller.tenantId, { kind, key: params.owner }),
  )
}

async function put(deps: DoorDeps, tenantId: number, owner: TextsOwner, body: Static<typeof NewTexts>) {
  return textsAnswer(await deps.transact(tenantId, (tx) => changeInvoiceTexts(tx, owner, textsOf(body), deps)))
}

async function get(deps: DoorDeps, tenantId: number, owner: TextsOwner) {
  return textsAnswer(await deps.transact(tenantId, (tx) => readInvoiceTexts(tx, owner)))
}

function answer(settings: { zeroInvoices: 'issue' | 'suppress'; leastDue: Readonly<Record<string, string>> }) {
  return { zero_invoices: settings.zeroInvoices, least_due: { ...settings.leastDue } }
}
