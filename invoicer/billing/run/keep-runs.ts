import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import { isAgainWaiting } from '../again/again.postgres.ts'
import { isProgressDue } from '../progressive/is-progress-due.ts'
import { countDue } from './due.postgres.ts'
import { isLeftWaiting } from './left-waiting.postgres.ts'
import { openRun } from './open-run.ts'
import { type RunDeps, runBilling } from './run-billing.ts'
import {
  failRun,
  hasUnfinishedRun,
  isHeldByCancel,
  listUnfinishedDryRuns,
  listUnfinishedRuns,
  lockSchedule,
  wasNotLookedAt,
} from './runs.postgres.ts'
import type { Progress } from './steps.ts'

/**
 * What keeps a run from its end would keep another one as well, and each tick would add one. But a run can fail for good
 * where a new one with a new seal would not: so one is opened a day.
 */
const NEW_RUN_AFTER_MS = 24 * 3_600_000

/** Late usage of what has ended is found by a run alone. */
const LOOK_AFTER_MS = 24 * 3_600_000

/** What waits and could not be invoiced is tried again. */
const TRY_AGAIN_AFTER_MS = 24 * 3_600_000

/** The part of a pino logger that is needed here. */
export type ErrorLogger = { error: (members: Record<string, unknown>, message: string) => void }

export type KeeperDeps = Omit<RunDeps, 'stopping'> & {
  progressOf: (tenantId: TenantId, runId: string) => Progress
  tenantIds: () => Promise<TenantId[]>
  logger: ErrorLogger
}

/** Keeps the runs of this process going. Nothing of it rejects: what stops a run stands in its row and in the log. */
export type RunKeeper = {
  /**
   * Takes a run to its end, or to the error that stops it. A run that this process works on already is joined, and taken up
   * once more behind that: it may be on its way out, and would miss what was asked of it just now.
   */
  continueRun: (tenantId: TenantId, runId: string) => Promise<void>
  /** Continues every run that a crash or an error left; dry ones are not waited for, since they keep nobody from billing. */
  resumeRuns: () => Promise<void>
  /**
   * What cron calls: first the runs that were left, then a new run for each tenant that wants one and has no such run. Behind
   * a cancelled run it opens none, until somebody has started one: what was wrong would be billed within the hour.
   */
  tick: () => Promise<void>
  /** Resolves when every run has come to a safe point; nothing is started after it is called. */
  stop: () => Promise<void>
}

export function keepRuns(deps: KeeperDeps, stopSignal: AbortSignal): RunKeeper {
  const stopping = () => stopSignal.aborted
  const active = new Map<string, Promise<void>>()
  const askedAgain = new Set<string>()
  const passes = new Set<Promise<void>>()
  const runDeps: RunDeps = { ...deps, stopping }

  // It leaves the active ones in the same turn in which it saw that nobody asks: whoever asks later begins anew.
  const workWhileAsked = async (tenantId: TenantId, runId: string): Promise<void> => {
    try {
      do {
        askedAgain.delete(runId)
        await workOnRun(deps, runDeps, tenantId, runId)
      } while (askedAgain.has(runId) && !stopping())
    } finally {
      askedAgain.delete(runId)
      active.delete(runId)
    }
  }
  const continueRun = (tenantId: TenantId, runId: string): Promise<void> => {
    const joined = active.get(runId)
    if (joined !== undefined) {
      askedAgain.add(runId)
      return joined
    }
    if (stopping()) return Promise.resolve()
    const work = workWhileAsked(tenantId, runId)
    active.set(runId, work)
    return work
  }
  const forEachTenant = (work: (tenantId: TenantId) => Promise<void>): Promise<void> => {
    const pass = passOverTenants(deps, stopping, work).finally(() => passes.delete(pass))
    passes.add(pass)
    return pass
  }
  const resumeTenant = async (tenantId: TenantId): Promise<void> => {
    for (const runId of await deps.transact(tenantId, listUnfinishedDryRuns)) void continueRun(tenantId, runId)
    for (const runId of await deps.transact(tenantId, listUnfinishedRuns)) await continueRun(tenantId, runId)
  }
  const billTenant = async (tenantId: TenantId): Promise<void> => {
    await resumeTenant(tenantId)
    const runId = await openWanted(deps, tenantId, deps.now())
    if (runId !== undefined) await continueRun(tenantId, runId)
  }
  return {
    continueRun,
    resumeRuns: () => forEachTenant(resumeTenant),
    tick: () => forEachTenant(billTenant),
    stop: async () => {
      await Promise.all([...passes, ...active.values()])
    },
  }
}

/** The run that a tick opens; undefined: none is wanted, or none may be opened now. */
async function openWanted(deps: KeeperDeps, tenantId: TenantId, asOfMs: number): Promise<string | undefined> {
  const openIf = (wanted: (tx: TenantTransaction) => Promise<boolean>) =>
    deps.transact(tenantId, async (tx): Promise<{ runId?: string; isFree: boolean }> => {
      await lockSchedule(tx)
      if (await isHeldByCancel(tx)) return { isFree: false }
      if (await hasUnfinishedRun(tx, asOfMs - NEW_RUN_AFTER_MS)) return { isFree: false }
      return (await wanted(tx)) ? { runId: (await openRun(tx, { asOfMs }, deps)).id, isFree: false } : { isFree: true }
    })
  const { runId, isFree } = await openIf((tx) => isWanted(tx, asOfMs))
  if (!isFree) return runId
  // Last, since it reads usage: not where a run is opened anyway, nor where none can be. What cannot be read opens none.
  const isReached = await orLog(deps, { tenant_id: tenantId }, 'thresholds could not be looked at', () =>
    isProgressDue(deps, tenantId, asOfMs),
  )
  return isReached === true ? (await openIf(async () => true)).runId : undefined
}

/**
 * A period is due, something waits that has no period to come or is to be billed again, or what was billed was not looked at
 * for a day. What has come to a threshold is asked behind it, without a transaction.
 */
async function isWanted(tx: TenantTransaction, atMs: number): Promise<boolean> {
  if ((await countDue(tx, atMs, null)) > 0) return true
  if (await isLeftWaiting(tx, atMs - TRY_AGAIN_AFTER_MS)) return true
  if (await isAgainWaiting(tx, atMs - TRY_AGAIN_AFTER_MS)) return true
  return wasNotLookedAt(tx, atMs - LOOK_AFTER_MS)
}

async function passOverTenants(
  deps: KeeperDeps,
  stopping: () => boolean,
  work: (tenantId: TenantId) => Promise<void>,
): Promise<void> {
  const tenantIds = await orLog(deps, {}, 'tenants could not be listed', deps.tenantIds)
  for (const tenantId of tenantIds ?? []) {
    if (stopping()) return
    await orLog(deps, { tenant_id: tenantId }, 'billing runs could not be started', () => work(tenantId))
  }
}

async function workOnRun(deps: KeeperDeps, runDeps: RunDeps, tenantId: TenantId, runId: string): Promise<void> {
  try {
    await runBilling(runDeps, deps.progressOf(tenantId, runId), tenantId, runId)
  } catch (error) {
    deps.logger.error({ service: 'invoicer', event: 'billing_run_failed', run_id: runId, err: error }, 'run failed')
    // If this fails too, the run still reads as running, which is continued like a failed one.
    await orLog(deps, { run_id: runId }, 'the failure could not be kept', () =>
      keepFailure(deps, tenantId, runId, error),
    )
  }
}

async function keepFailure(deps: KeeperDeps, tenantId: TenantId, runId: string, error: unknown): Promise<void> {
  const reason = error instanceof Problem ? error.message : 'An internal error stopped the run; the log has it.'
  await deps.transact(tenantId, async (tx) => {
    if (!(await failRun(tx, runId, reason))) return
    const event = { id: deps.newId(), event: 'billing_run.failed' as const, billingRunId: runId, data: { reason } }
    await insertBillingEvents(tx, [event], deps.now())
  })
}

async function orLog<T>(
  deps: KeeperDeps,
  members: Record<string, unknown>,
  message: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    deps.logger.error({ service: 'invoicer', ...members, err: error }, message)
    return undefined
  }
}
