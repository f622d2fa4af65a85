import { randomBytes } from 'node:crypto'
import type { Pool } from 'pg'
import { v7 as newId } from 'uuid'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { giveUpDeliveries, queueDelivery } from './deliveries.postgres.ts'
import { type Allowed, wrongUrl } from './endpoint-url.ts'
import { deleteEndpoint, type Endpoint, findEndpoint, listEndpoints, storeEndpoint } from './endpoints.postgres.ts'
import { messageOf, TEST_TOPIC } from './message.ts'
import { newSecret } from './signature.ts'

export type EndpointDeps = Allowed & { pool: Pool; now: () => number }
export type EndpointInput = { name: string; url: string; topics: readonly string[] }

/** Every event is sent to each of them. */
const MOST_ENDPOINTS = 20

/** Stores an endpoint; one that is new answers its secret, this once. What is changed keeps its secret. */
export async function putEndpoint(
  { pool, now, ...allowed }: EndpointDeps,
  tenant: TenantId,
  { name, url, topics }: EndpointInput,
): Promise<{ endpoint: Endpoint; secret: string | undefined }> {
  const message = wrongUrl(url, allowed)
  if (message) throw new Problem('invalid_request', `The url ${message}.`, { errors: [{ path: 'url', message }] })
  const secret = newSecret(randomBytes)
  return withTenant(pool, tenant, async (tx) => {
    const { endpoint, created } = await storeEndpoint(
      tx,
      { id: newId(), name, url, topics: [...new Set(topics)], secret },
      new Date(now()),
    )
    if (created && (await listEndpoints(tx)).length > MOST_ENDPOINTS)
      throw new Problem('conflict', `A tenant has at most ${MOST_ENDPOINTS} webhooks: delete one first`)
    return { endpoint, secret: created ? secret : undefined }
  })
}

/** What waits for it is given up. */
export async function removeEndpoint(
  { pool, now }: Pick<EndpointDeps, 'pool' | 'now'>,
  tenant: TenantId,
  name: string,
): Promise<void> {
  await withTenant(pool, tenant, async (tx) => {
    const at = new Date(now())
    const id = await deleteEndpoint(tx, name, at)
    if (id === undefined) throw noEndpoint(name)
    await giveUpDeliveries(tx, id, 'the webhook was deleted', at)
  })
}

/** Queues an event that says nothing; answers its id. */
export async function testEndpoint(
  { pool, now }: Pick<EndpointDeps, 'pool' | 'now'>,
  tenant: TenantId,
  name: string,
): Promise<string> {
  return withTenant(pool, tenant, async (tx) => {
    const endpoint = await findEndpoint(tx, name)
    if (!endpoint) throw noEndpoint(name)
    const message = messageOf(newId(), TEST_TOPIC, now(), { webhook: name })
    await queueDelivery(tx, endpoint.id, message, new Date(now()))
    return message.id
  })
}

export function noEndpoint(name: string): Problem {
  return new Problem('not_found', `There is no webhook ${name}`)
}
