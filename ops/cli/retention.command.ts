import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { countPast, type Horizons, type Past, removeLetters } from '../../aggregator/retention/letters.clickhouse.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { createLogger } from '../host/logger.ts'
import { dataFolderOf, type Env, embeddedStores, kafkaSettingsOf, serversOf } from './settings.ts'
import { FolderInUse, openStores } from './stores.ts'
import { createUndo } from './undo.ts'

const DAY_MS = 86_400_000
const SEVEN_YEARS_DAYS = 2_557
const LEAST_REPLAYED_DAYS = 35

const HELP = `Usage: tallyline retention [--dry-run] [--replayed-days 35] [--waiting-days 2557]

Removes dead letters past their time: those replayed so many days ago (their events are stored; at least 35), and those
that nobody could read for so many days (at least 7 years: each may hold events that were acknowledged). With --dry-run
it only says what would go. Events, usage and progress are never removed: schemas/clickhouse/README.md, "Retention".
Embedded stores must not be in use: stop the product first. Servers may be.
`

type Streams = { stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }
type Wanted = { replayedDays: number; waitingDays: number; dryRun: boolean }

const NEEDS = ['invoicer'] as const

/** To be run from time to time, by cron for example. Returns the exit code. */
export async function retentionCommand(
  argv: string[],
  env: Env,
  { stdout, stderr, now }: Streams & { now: () => number },
): Promise<number> {
  const { values } = parseArgs({
    args: argv,
    options: {
      'dry-run': { type: 'boolean', default: false },
      'replayed-days': { type: 'string', default: String(LEAST_REPLAYED_DAYS) },
      'waiting-days': { type: 'string', default: String(SEVEN_YEARS_DAYS) },
      help: { type: 'boolean' },
    },
  })
  const replayedDays = daysOf(values['replayed-days'], LEAST_REPLAYED_DAYS)
  const waitingDays = daysOf(values['waiting-days'], SEVEN_YEARS_DAYS)
  if (values.help || replayedDays === undefined || waitingDays === undefined) {
    ;(values.help ? stdout : stderr).write(HELP)
    return values.help ? 0 : 1
  }
  const wanted = { replayedDays, waitingDays, dryRun: values['dry-run'] }
  return withUsage(env, stderr, async (store) => {
    stdout.write(`${(await retain(store, wanted, now())).join('\n')}\n`)
  })
}

/** A whole number of days that is not too few. */
function daysOf(text: string, least: number): number | undefined {
  return /^\d{1,6}$/.test(text) && Number(text) >= least ? Number(text) : undefined
}

/** Removes what is past its time, or only says what would go. */
async function retain(store: ClickHouseStore, wanted: Wanted, nowMs: number): Promise<string[]> {
  const horizons: Horizons = {
    replayedMs: nowMs - wanted.replayedDays * DAY_MS,
    waitingMs: nowMs - wanted.waitingDays * DAY_MS,
    eventsMs: nowMs - SEVEN_YEARS_DAYS * DAY_MS,
  }
  const past = await countPast(store, horizons)
  if (!wanted.dryRun) await removeLetters(store, horizons)
  return linesOf(past, wanted)
}

function linesOf(past: Past, { replayedDays, waitingDays, dryRun }: Wanted): string[] {
  const fate = dryRun ? 'would be removed' : 'removed'
  return [
    `dead_letters replayed more than ${replayedDays} days ago: ${past.replayed} ${fate}`,
    `dead_letters waiting for more than ${waitingDays} days: ${past.waiting} ${fate}`,
    `events stored more than 7 years ago: ${past.events}, which stay: usage could not be told again without them`,
  ]
}

async function withUsage(
  env: Env,
  stderr: NodeJS.WritableStream,
  work: (store: ClickHouseStore) => Promise<void>,
): Promise<number> {
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
    const { store } = await openStores({ ...means, migrate: false, onLost: () => undefined }, undo)
    await work(store)
    return 0
  } catch (error) {
    if (!(error instanceof FolderInUse)) throw error
    stderr.write(`${error.message}\n`)
    return 1
  } finally {
    await undo.run()
  }
}
