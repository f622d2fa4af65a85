import { type MailSettings, mailSettingsOf } from '../../ingest/webhooks/mail-settings.ts'
import type { StripeTaxSettings } from '../../invoicer/billing/tax/tax-stripe.http.ts'

export type Env = Record<string, string | undefined>

export const ROLES = ['ingest', 'aggregator', 'invoicer'] as const
export type Role = (typeof ROLES)[number]

/** The servers to use; a store without one is embedded. */
export type Servers = {
  kafkaBrokers: string[] | undefined
  redisUrl: string | undefined
  clickhouseUrl: string | undefined
  databaseUrl: string | undefined
}

export function serversOf(env: Env): Servers {
  return {
    kafkaBrokers: env.KAFKA_BROKERS ? env.KAFKA_BROKERS.split(',').map((broker) => broker.trim()) : undefined,
    redisUrl: env.REDIS_URL || undefined,
    clickhouseUrl: env.CLICKHOUSE_URL || undefined,
    databaseUrl: env.DATABASE_URL || undefined,
  }
}

const STORES = {
  kafkaBrokers: { variable: 'KAFKA_BROKERS', what: 'event log' },
  redisUrl: { variable: 'REDIS_URL', what: 'quota counters' },
  clickhouseUrl: { variable: 'CLICKHOUSE_URL', what: 'usage' },
  databaseUrl: { variable: 'DATABASE_URL', what: 'catalogue, customers and invoices' },
} as const
type Store = keyof typeof STORES
const NEEDS: Record<Role, readonly Store[]> = {
  ingest: ['kafkaBrokers', 'redisUrl', 'clickhouseUrl', 'databaseUrl'],
  aggregator: ['kafkaBrokers', 'clickhouseUrl', 'databaseUrl'],
  invoicer: ['clickhouseUrl', 'databaseUrl'],
}

/** The stores that the roles need and no server is named for: these are embedded. */
export function embeddedStores(roles: readonly Role[], servers: Servers): Store[] {
  return (Object.keys(STORES) as Store[]).filter(
    (store) => servers[store] === undefined && roles.some((role) => NEEDS[role].includes(store)),
  )
}

/** Why a role cannot run by itself: it shares its stores with other processes, and embedded ones cannot be shared. */
export function refusal(role: Role, servers: Servers): string | undefined {
  const missing = embeddedStores([role], servers)
  if (missing.length === 0) return undefined
  const list = missing.map((store) => `${STORES[store].variable} (${STORES[store].what})`).join(', ')
  const why = `The ${role} role shares its stores with other processes, which embedded ones cannot do`
  return `${why}: set ${list}. "tallyline start" runs all roles in one process.`
}

/** Where the data lies: TALLYLINE_DATA, or ./.tallyline. */
export function dataFolderOf(env: Env): string {
  return env.TALLYLINE_DATA || '.tallyline'
}

/** PORT as a number. */
export function portOf(env: Env, fallback = 8081): number {
  return wholeNumber(env, 'PORT', fallback, 65_535)
}

/** QUOTA_ENFORCEMENT: false records beyond a limit without refusing. */
export function enforceQuotaOf(env: Env): boolean {
  return isTrue(env, 'QUOTA_ENFORCEMENT', 'true')
}

/** WEBHOOK_ALLOW_PRIVATE: true lets webhooks go to private addresses, and without TLS. */
export function allowPrivateWebhooksOf(env: Env): boolean {
  return isTrue(env, 'WEBHOOK_ALLOW_PRIVATE', 'false')
}

/** STRIPE_TAX_KEY: asks Stripe for the tax of legal entities that say so; STRIPE_API_URL: where, if not at its own address. */
export function stripeTaxOf(env: Env): StripeTaxSettings | undefined {
  const { STRIPE_TAX_KEY: apiKey, STRIPE_API_URL: url } = env
  return apiKey ? { apiKey, url: url || undefined } : undefined
}

/** SMTP_URL and MAIL_FROM: the mail server that webhooks may go through. */
export function mailOf(env: Env): MailSettings | undefined {
  const { SMTP_URL: url, MAIL_FROM: from } = env
  if (!url && !from) return undefined
  if (!url || !from) throw new Error(`${url ? 'MAIL_FROM' : 'SMTP_URL'} is not set: mail needs SMTP_URL and MAIL_FROM`)
  return mailSettingsOf(url, from)
}

function isTrue(env: Env, name: string, fallback: 'true' | 'false'): boolean {
  const text = env[name] || fallback
  if (text !== 'true' && text !== 'false') throw new Error(`${name} is '${text}': it must be true or false`)
  return text === 'true'
}

/** BILLING_TIER_DEFAULT: the plan whose entitlements hold for subjects without a subscription (HC-4). */
export function defaultPlanOf(env: Env): string {
  return env.BILLING_TIER_DEFAULT || 'basic'
}

/** BILLING_CRON (UTC): when billing runs start by themselves; 'off': only on demand. Every hour when not given. */
export function cronOf(env: Env): string | undefined {
  const text = env.BILLING_CRON || '5 * * * *'
  return text === 'off' ? undefined : text
}

/** How Kafka is used. */
export function kafkaSettingsOf(env: Env) {
  return {
    partitions: wholeNumber(env, 'KAFKA_PARTITIONS', 12, 1_024),
    sessionTimeoutMs: wholeNumber(env, 'KAFKA_SESSION_TIMEOUT_MS', 30_000, 600_000),
    clockMarginMs: wholeNumber(env, 'SEAL_CLOCK_MARGIN_MS', 60_000, 3_600_000),
    inputPrefix: inputPrefixOf(env),
  }
}
/** KAFKA_INPUT_PREFIX: what the names of tenants' own topics begin with, before the tenant's; 'off': none is read. */
function inputPrefixOf(env: Env): string | undefined {
  const text = env.KAFKA_INPUT_PREFIX || 'tallyline-input.'
  if (!/^[a-zA-Z0-9._-]{1,100}$/.test(text))
    throw new Error(`KAFKA_INPUT_PREFIX is '${text}': it must be letters, digits, dots, underscores and dashes`)
  return text === 'off' ? undefined : text
}
export type KafkaSettings = ReturnType<typeof kafkaSettingsOf>

function wholeNumber(env: Env, name: string, fallback: number, most: number): number {
  const text = env[name] || String(fallback)
  const value = Number(text)
  if (!/^\d+$/.test(text) || value > most)
    throw new Error(`${name} is '${text}': it must be a number from 0 to ${most}`)
  return value
}
