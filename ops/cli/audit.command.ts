import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type Audit, auditTenant, type SealAudit, type ShardDifference } from '../../aggregator/seal/audit.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { listTenants } from '../../schemas/postgres/tenant.postgres.ts'
import { createLogger } from '../host/logger.ts'
import { dataFolderOf, type Env, embeddedStores, kafkaSettingsOf, serversOf } from './settings.ts'
import { FolderInUse, openStores, type Stores } from './stores.ts'
import { createUndo } from './undo.ts'

const HELP = `Usage: tallyline audit --period 2026-11 [--tenant SLUG]

Recomputes a month (UTC) from the raw events and compares it with the rollups that usage and invoices are read from,
shard by shard, and everything known before the last seal with that seal. Says "equal" with counts, digests and
offsets, or names the shards that differ; then the exit code is 1. It only reads.
Embedded stores must not be in use: stop the product first. Servers may be: shards that change meanwhile are left out.
`

type Streams = { stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }

/** Nothing is needed but ClickHouse and Postgres, as by the invoicer. */
const NEEDS = ['invoicer'] as const

export async function auditCommand(argv: string[], env: Env, { stdout, stderr }: Streams): Promise<number> {
  const options = { period: { type: 'string' }, tenant: { type: 'string' }, help: { type: 'boolean' } } as const
  const { values } = parseArgs({ args: argv, options })
  const period = monthOf(values.period)
  if (values.help || !period) {
    ;(values.help ? stdout : stderr).write(HELP)
    return values.help ? 0 : 1
  }
  const servers = serversOf(env)
  const dataFolder = resolve(dataFolderOf(env))
  if (embeddedStores(NEEDS, servers).includes('clickhouseUrl') && !existsSync(join(dataFolder, 'clickhouse'))) {
    stderr.write(`There is no data in ${dataFolder}: set TALLYLINE_DATA to the folder of the product.\n`)
    return 1
  }
  const logger = createLogger({ level: env.LOG_LEVEL || 'warn' })
  const undo = createUndo(logger)
  try {
    const means = { roles: NEEDS, servers, kafka: kafkaSettingsOf(env), dataFolder, logger }
    const stores = await openStores({ ...means, migrate: false, onLost: () => undefined }, undo)
    return await auditTenants(stores, values.tenant, period, stdout, stderr)
  } catch (error) {
    if (!(error instanceof FolderInUse)) throw error
    stderr.write(`${error.message}\n`)
    return 1
  } finally {
    await undo.run()
  }
}

async function auditTenants(
  { pool, reads }: Stores,
  slug: string | undefined,
  period: Month,
  stdout: NodeJS.WritableStream,
  stderr: NodeJS.WritableStream,
): Promise<number> {
  const tenants = (await listTenants(pool)).filter((tenant) => slug === undefined || tenant.slug === slug)
  if (tenants.length === 0) {
    stderr.write(slug === undefined ? 'There are no tenants yet.\n' : `There is no tenant ${slug}.\n`)
    return 1
  }
  let code = 0
  for (const tenant of tenants) {
    const audit = await auditTenant({ pool, store: reads }, tenant.tenantId satisfies TenantId, period)
    stdout.write(`${reportOf(tenant.slug, period.text, audit).join('\n')}\n`)
    if (!audit.equal) code = 1
  }
  return code
}

type Month = { text: string; fromMs: number; toMs: number }

function monthOf(text: string | undefined): Month | undefined {
  const [, year, month] = /^(\d{4})-(0[1-9]|1[0-2])$/.exec(text ?? '') ?? []
  if (!text || !year || !month) return undefined
  return { text, fromMs: Date.UTC(Number(year), Number(month) - 1), toMs: Date.UTC(Number(year), Number(month)) }
}

/** What a person reads: the verdict first. */
function reportOf(slug: string, period: string, audit: Audit): string[] {
  const { shards, liveShards, events, meters, differences, seal, logs } = audit
  return [
    `tenant ${slug}, ${period}: ${audit.equal ? 'equal' : 'DIFFERS'}`,
    `  events ${events.events}, digest ${events.digest}`,
    ...meters.map(({ meter, events: counted, quantity }) => {
      return `  meter ${meter}: ${quantity === undefined ? '' : `${quantity} in `}${counted} events`
    }),
    `  shards ${shards}, of which ${liveShards} are read from their events at present`,
    ...differences.map(differenceLine),
    ...(seal ? sealLines(seal) : ['  no seal yet']),
    ...logs.map(({ log, partition, end, last }) => {
      return `  log ${log}/${partition}: stored to ${end}${end === last ? '' : `, WITH A HOLE before ${last}`}`
    }),
  ]
}

function differenceLine({ shard, meter, fromEvents, fromRollup }: ShardDifference): string {
  const told = (said: typeof fromEvents) =>
    said ? `${said.events} events, quantity ${said.quantity}, digest ${said.digest}` : 'nothing'
  const what = meter === '' ? 'events' : `meter ${meter}`
  return `  shard ${shard} DIFFERS, ${what}: events give ${told(fromEvents)}; the rollup ${told(fromRollup)}`
}

function sealLines({
  sealId,
  knownBeforeMs,
  logOffsets,
  sealed,
  recomputed,
  equal,
  replaysSince,
}: SealAudit): string[] {
  const name = `  seal ${sealId}, known before ${new Date(knownBeforeMs).toISOString()}`
  const offsets = Object.entries(logOffsets).map(([log, ends]) => `    log ${log}: offsets ${ends.join(' ')}`)
  const lines = [
    `${name}: ${sealed.events} events, digest ${sealed.digest}, ${equal ? 'equal' : 'DIFFERS'}`,
    ...offsets,
  ]
  if (equal) return lines
  const why = replaysSince > 0 ? `; ${replaysSince} dead letters were replayed since the seal` : ''
  return [...lines, `    events give ${recomputed.events}, digest ${recomputed.digest}${why}`]
}
