import { randomBytes, randomInt } from 'node:crypto'
import type { Logger } from 'pino'
import { Registry } from 'prom-client'
import { buildAggregator } from '../../aggregator/aggregator.ts'
import { buildIngest } from '../../ingest/ingest.ts'
import type { MailSettings } from '../../ingest/webhooks/mail-settings.ts'
import type { TaxEngine } from '../../invoicer/billing/tax/tax-port.ts'
import type { StripeTaxSettings } from '../../invoicer/billing/tax/tax-stripe.http.ts'
import { buildInvoicer } from '../../invoicer/invoicer.ts'
import type { App, TenantId } from '../../schemas/http/door.ts'
import { createAuthenticator } from '../access/authenticate.ts'
import { keyDoor } from '../access/doors/keys.ts'
import { tenantDoor } from '../access/doors/tenants.ts'
import { withRawBodies } from '../host/bodies.ts'
import { listenForConfig } from '../host/config-listener.postgres.ts'
import { type NamedCheck, serveHealth } from '../host/health.ts'
import { createIds } from '../host/new-ids.ts'
import { buildHost } from '../host/server.ts'
import { openPorts, type Ports } from './ports.ts'
import { openStores, type Stores, type StoresOptions } from './stores.ts'
import { createUndo, type Undo } from './undo.ts'

export type RunOptions = StoresOptions & {
  host: string
  port: number
  enforceQuota: boolean
  defaultPlan: string
  /** Webhooks may go to private addresses, and without TLS. */
  allowPrivateWebhooks?: boolean
  /** The mail server that webhooks may go through. */
  mail?: MailSettings | undefined
  /** The key of Stripe Tax, and where it is if not at its own address. */
  stripeTax?: StripeTaxSettings | undefined
  cron: string | undefined
  version: string
  logger: Logger
  /** Replaces ports as they are handed to the roles: tests wrap them. The product leaves them as they are. */
  wrapPorts?: (ports: Ports) => Ports
}

export type Running = {
  url: string
  stores: Stores
  stop(): Promise<void>
}

/** A role as the composition sees it. Built before it starts: its doors stand on the application from the beginning. */
type Part = {
  start(): Promise<void>
  stop(): Promise<void>
  configChanged(table: string, tenant: TenantId): void
  checks: NamedCheck[]
}

/** Runs the chosen roles in this process: stores, ports, roles, then the door. Stops in the opposite order. */
export async function runRoles(options: RunOptions): Promise<Running> {
  const undo = createUndo(options.logger)
  try {
    return await runParts(options, undo)
  } catch (error) {
    await undo.run()
    throw error
  }
}

async function runParts(options: RunOptions, undo: Undo): Promise<Running> {
  const { logger } = options
  const now = Date.now
  const stores = await openStores(options, undo)
  const opened = await openPorts(options, stores, now, undo)
  const ports = options.wrapPorts ? options.wrapPorts(opened) : opened
  const metrics = new Registry()
  const auth = createAuthenticator({ pool: stores.pool, now })
  const app: App = await buildHost({ logger, metrics, authenticate: auth.authenticate, version: options.version })
  tenantDoor(app, { pool: stores.pool })
  keyDoor(app, { pool: stores.pool, randomBytes })
  const parts = [
    ...ingestPart(options, app, stores, ports, metrics, now),
    ...aggregatorPart(options, app, stores, ports, metrics, now),
    ...(await invoicerPart(options, app, stores, ports, metrics, now)),
  ]
  const postgres = { name: 'postgres', check: async () => stores.pool.query('SELECT 1').then(() => ({ ok: true })) }
  serveHealth(app, { logger, checks: [...parts.flatMap((part) => part.checks), postgres] })
  const changed = (table: string, tenant: TenantId) => {
    if (table === '*') auth.invalidate()
    else if (table === 'api_keys') auth.invalidate(tenant)
    for (const part of parts) part.configChanged(table, tenant)
  }
  const listener = listenForConfig(stores.ownerUrl, changed, (error) => logger.warn({ error }, 'config listener'))
  undo.add(() => listener.stop())
  for (const part of parts) {
    undo.add(() => part.stop())
    await part.start()
  }
  undo.add(() => app.close())
  const url = await app.listen({ host: options.host, port: options.port })
  return { url, stores, stop: () => undo.run() }
}

function ingestPart(
  options: RunOptions,
  app: App,
  stores: Stores,
  ports: Ports,
  metrics: Registry,
  now: () => number,
): Part[] {
  const { writer, quota, billingCache, reads: usage } = ports
  if (!writer || !quota || !billingCache) return []
  const { enforceQuota, defaultPlan, allowPrivateWebhooks = false, mail, logger } = options
  const role = buildIngest({
    app,
    withRawBodies,
    pool: stores.pool,
    writer,
    quota,
    billingCache,
    usage,
    enforceQuota,
    defaultPlan,
    allowPrivateWebhooks,
    mail,
    kafkaInputs: kafkaInputsOf(options),
    logger,
    metrics,
    now,
  })
  const { answers = writer.ends } = writer
  const log = { name: 'event log', check: async () => answers().then(() => ({ ok: true })) }
  const counters = { name: 'quota counters', check: async () => quota.ping().then(() => ({ ok: true })) }
  return [{ ...role, checks: [log, counters] }]
}

/** Tenants' own topics, if there is a Kafka that has them. */
function kafkaInputsOf({ servers, kafka: { inputPrefix: prefix, sessionTimeoutMs } }: RunOptions) {
  const brokers = servers.kafkaBrokers
  return brokers && prefix !== undefined ? { brokers, prefix, sessionTimeoutMs } : undefined
}

function aggregatorPart(
  options: RunOptions,
  app: App,
  stores: Stores,
  ports: Ports,
  metrics: Registry,
  now: () => number,
): Part[] {
  const { reader, endedReaders, store, reads } = ports
  if (!reader) return []
  const random20 = () => randomInt(2 ** 20)
  const { logger } = options
  const readers = { reader, endedReaders }
  const role = buildAggregator({ app, pool: stores.pool, store, reads, ...readers, logger, metrics, now, random20 })
  return [{ ...role, checks: [{ name: 'aggregator', check: role.check }] }]
}

async function invoicerPart(
  options: RunOptions,
  app: App,
  stores: Stores,
  ports: Ports,
  metrics: Registry,
  now: () => number,
): Promise<Part[]> {
  if (!options.roles.includes('invoicer')) return []
  const { usage, events, gateway, progressOf } = ports
  const { logger, cron } = options
  const means = { now, newId: createIds(now), cron, ...(progressOf ? { progressOf } : {}) }
  const stripeTax = options.stripeTax && (await stripeTaxOf(options.stripeTax, now))
  const role = buildInvoicer({ app, pool: stores.pool, usage, events, gateway, stripeTax, logger, metrics, ...means })
  return [{ ...role, configChanged: () => undefined, checks: [] }]
}

/** Stripe's library is large: who does not use it need not load it. */
async function stripeTaxOf(settings: StripeTaxSettings, now: () => number): Promise<TaxEngine> {
  const { stripeTax } = await import('../../invoicer/billing/tax/tax-stripe.http.ts')
  return stripeTax(settings, now)
}
