import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { changeLegalEntity } from '../../../agreements/entities/change-legal-entity.ts'
import { createLegalEntity } from '../../../agreements/entities/create-legal-entity.ts'
import { listLegalEntities } from '../../../agreements/entities/legal-entities.postgres.ts'
import type { LegalEntity } from '../../../agreements/entities/legal-entity.ts'
import { readLegalEntity } from '../../../agreements/entities/read-legal-entity.ts'
import { AddressShape, addressAnswer, addressExample } from '../customers/billing-details.ts'
import {
  type DoorDeps,
  Id,
  Instant,
  instantText,
  Key,
  listOf,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
} from '../shapes.ts'
import { changeOf, EntityChange, entityExample, entityOf, NewEntity, Registrations, TaxShape } from './entity-input.ts'

const taxExample = {
  enabled: true,
  engine: 'embedded' as const,
  rounding: 'per_line' as const,
  amounts: 'exclusive' as const,
  eu_consumers: 'destination' as const,
  codes: {},
}
const example = {
  ...entityExample,
  id: '01890a5d-ac96-774b-bcce-b302099a8052',
  address: addressExample,
  default_currency: 'EUR',
  number_prefix: 'HELLAS',
  tax: taxExample,
  created_at: '2023-12-01T00:00:00.000Z',
}

const EntityAnswer = Type.Object(
  {
    id: Id,
    key: Type.String(),
    name: Type.String(),
    country: Type.String(),
    address: Nullable(AddressShape),
    default_currency: Nullable(Type.String()),
    number_prefix: Type.String(),
    tax_registrations: Registrations,
    tax: TaxShape,
    created_at: Instant,
  },
  { examples: [example] },
)
const KeyParams = Type.Object({ key: Key }, strict)

/** Who issues the tenant's invoices. Without any, they have no tax. */
export function entitiesDoor(app: App, deps: DoorDeps): void {
  const tags = ['legal-entities']
  app.post(
    '/api/v1/legal-entities',
    {
      config: { permission: 'billing:legal-entities:create' },
      schema: {
        tags,
        summary: 'Create a legal entity that issues invoices; the same again answers the stored one',
        description: 'The first one issues the invoices of every customer that names none, from now on and for good.',
        body: NewEntity,
        response: { 200: EntityAnswer, 201: EntityAnswer },
      },
    },
    async ({ caller, body }, reply) => {
      const { entity, created } = await deps.transact(caller.tenantId, (tx) =>
        createLegalEntity(tx, entityOf(body), deps),
      )
      return reply.code(created ? 201 : 200).send(answer(entity))
    },
  )
  app.patch(
    '/api/v1/legal-entities/:key',
    {
      config: { permission: 'billing:legal-entities:update' },
      schema: {
        tags,
        summary: 'Change name, address, registrations or tax settings of a legal entity',
        description:
          'What is given is changed, the rest stays, also of the address. Invoices that are issued from now on follow it.',
        params: KeyParams,
        body: EntityChange,
        response: { 200: EntityAnswer },
      },
    },
    async ({ caller, params, body }) =>
      answer(await deps.transact(caller.tenantId, (tx) => changeLegalEntity(tx, params.key, changeOf(body), deps))),
  )
  app.get(
    '/api/v1/legal-entities/:key',
    {
      config: { permission: 'billing:legal-entities:read' },
      schema: { tags, summary: 'Read a legal entity', params: KeyParams, response: { 200: EntityAnswer } },
    },
    async ({ caller, params }) => answer(await deps.transact(caller.tenantId, (tx) => readLegalEntity(tx, params.key))),
  )
  app.get(
    '/api/v1/legal-entities',
    {
      config: { permission: 'billing:legal-entities:read' },
      schema: {
        tags,
        summary: 'List legal entities',
        querystring: Type.Object(pageMembers, strict),
        response: { 200: listOf('legal_entities', EntityAnswer, example) },
      },
    },
    async ({ caller, query }) => {
      const page = pageOf(query)
      const entities = await deps.transact(caller.tenantId, (tx) => listLegalEntities(tx, page))
      return { legal_entities: entities.map(answer), next: nextOf(entities, page) }
    },
  )
}

function answer(entity: LegalEntity): Static<typeof EntityAnswer> {
  const { tax } = entity
  return {
    id: entity.id,
    key: entity.key,
    name: entity.name,
    country: entity.country,
    address: entity.address && addressAnswer(entity.address),
    default_currency: entity.defaultCurrency,
    number_prefix: entity.numberPrefix,
    tax_registrations: entity.registrations,
    tax: {
      enabled: tax.enabled,
      engine: tax.engine,
      rounding: tax.rounding,
      amounts: tax.inclusive ? 'inclusive' : 'exclusive',
      eu_consumers: tax.euConsumers,
      codes: tax.codes ?? {},
    },
    created_at: instantText(entity.createdAtMs),
  }
}
