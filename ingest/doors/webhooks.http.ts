import type { App } from '../../schemas/http/door.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import {
  type EndpointDeps,
  noEndpoint,
  putEndpoint,
  removeEndpoint,
  testEndpoint,
} from '../webhooks/change-endpoint.ts'
import { type ListedDelivery, listDeliveries } from '../webhooks/deliveries.postgres.ts'
import { type Endpoint, findEndpoint, listEndpoints } from '../webhooks/endpoints.postgres.ts'
import {
  DeletedAnswer,
  DeliveriesAnswer,
  NamePath,
  NewWebhookAnswer,
  PageQuery,
  TestAnswer,
  WebhookAnswer,
  WebhookBody,
  WebhooksAnswer,
} from './webhooks.shapes.ts'

/** `queued`: called when something is to be sent. */
export type WebhooksDoorDeps = EndpointDeps & { queued: () => void }

const DEFAULT_LIMIT = 100

/** Where a tenant is told of what happens, after Standard Webhooks. */
export function webhooksDoor(app: App, deps: WebhooksDoorDeps): void {
  changeDoors(app, deps)
  readDoors(app, deps)
}

function changeDoors(app: App, deps: WebhooksDoorDeps): void {
  app.put(
    '/api/v1/webhooks/:name',
    {
      config: { permission: 'billing:webhooks:create' },
      schema: {
        summary:
          'Be told by HTTP or mail: each event is POSTed to the URL, signed, until it answers 2xx, for about a day.',
        description:
          'The secret is answered once, with 201. Deliveries come at least once, in no order: tell repeats by their ' +
          'webhook-id. Sent again, url and topics are replaced; for another secret, delete it and make it anew. A mailto ' +
          'URL (up to ten addresses, separated by commas) is mailed to instead, unsigned, where mail is set up: at most ' +
          '1,000 copies a day in all; tell repeats by their Message-ID.',
        params: NamePath,
        body: WebhookBody,
        response: { 200: WebhookAnswer, 201: NewWebhookAnswer },
      },
    },
    async ({ caller, params, body }, reply) => {
      const { endpoint, secret } = await putEndpoint(deps, caller.tenantId, { ...params, ...body })
      if (secret === undefined) return reply.code(200).send(answerOf(endpoint))
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ ...answerOf(endpoint), secret })
    },
  )
  app.delete(
    '/api/v1/webhooks/:name',
    {
      config: { permission: 'billing:webhooks:create' },
      schema: {
        summary: 'Be told no more: what waits to be sent is given up.',
        params: NamePath,
        response: { 200: DeletedAnswer },
      },
    },
    async ({ caller, params: { name } }) => {
      await removeEndpoint(deps, caller.tenantId, name)
      return { name, deleted: true as const }
    },
  )
  app.post(
    '/api/v1/webhooks/:name/test',
    {
      config: { permission: 'billing:webhooks:create' },
      schema: {
        summary: 'Send an event of the type webhook.test to one webhook.',
        params: NamePath,
        response: { 202: TestAnswer },
      },
    },
    async ({ caller, params: { name } }, reply) => {
      const eventId = await testEndpoint(deps, caller.tenantId, name)
      deps.queued()
      return reply.code(202).send({ event_id: eventId })
    },
  )
}

function readDoors(app: App, { pool }: WebhooksDoorDeps): void {
  app.get(
    '/api/v1/webhooks',
    {
      config: { permission: 'billing:webhooks:read' },
      schema: { summary: 'The tenant’s webhooks.', response: { 200: WebhooksAnswer } },
    },
    async ({ caller }) => {
      const endpoints = await withTenant(pool, caller.tenantId, listEndpoints)
      return { webhooks: endpoints.map(answerOf) }
    },
  )
  app.get(
    '/api/v1/webhooks/:name',
    {
      config: { permission: 'billing:webhooks:read' },
      schema: { summary: 'A webhook, without its secret.', params: NamePath, response: { 200: WebhookAnswer } },
    },
    async ({ caller, params: { name } }) => {
      const endpoint = await withTenant(pool, caller.tenantId, (tx) => findEndpoint(tx, name))
      if (!endpoint) throw noEndpoint(name)
      return answerOf(endpoint)
    },
  )
  app.get(
    '/api/v1/webhooks/:name/deliveries',
    {
      config: { permission: 'billing:webhooks:read' },
      schema: {
        summary: 'What was sent to a webhook, or waits to be, the newest event first.',
        params: NamePath,
        querystring: PageQuery,
        response: { 200: DeliveriesAnswer },
      },
    },
    async ({ caller, params: { name }, query: { limit = DEFAULT_LIMIT, cursor } }) => {
      const deliveries = await withTenant(pool, caller.tenantId, async (tx) => {
        const endpoint = await findEndpoint(tx, name)
        if (!endpoint) throw noEndpoint(name)
        return listDeliveries(tx, endpoint.id, { before: cursor, limit })
      })
      const next = deliveries.length < limit ? null : (deliveries.at(-1)?.eventId ?? null)
      return { deliveries: deliveries.map(deliveryOf), next }
    },
  )
}

function answerOf({ name, url, topics, createdAt }: Endpoint) {
  return { name, url, topics: [...topics], created_at: createdAt.toISOString() }
}

function deliveryOf({ eventId, nextAttemptAt, lastError, createdAt, endedAt, takenBy, ...same }: ListedDelivery) {
  return {
    ...same,
    event_id: eventId,
    next_attempt_at: endedAt ? null : nextAttemptAt.toISOString(),
    last_error: lastError,
    created_at: createdAt.toISOString(),
    ended_at: endedAt?.toISOString() ?? null,
    taken_by: takenBy,
  }
}
