import type { Logger } from 'pino'
import { listWaitingReverts, type WaitingRevert } from './backfills.postgres.ts'
import { type RevertDeps, runRevert } from './run-revert.ts'

/** Takes every revert to its end, also those that a killed process left. Nothing of it rejects. */
export type RevertKeeper = {
  start(): void
  /** Looks at once: called when a revert was asked for. */
  look(): void
  /** Resolves when the revert under way has come to a page's end; it goes on after the next start. */
  stop(): Promise<void>
}

const LOOK_EVERY_MS = 5_000

export function keepReverts(deps: Omit<RevertDeps, 'stopping'> & { logger: Logger }): RevertKeeper {
  let stopped = false
  let pass: Promise<void> | undefined
  let again = false
  let timer: NodeJS.Timeout | undefined
  const runDeps: RevertDeps = { ...deps, stopping: () => stopped }

  const runOne = async (waiting: WaitingRevert): Promise<void> => {
    await runRevert(runDeps, waiting).catch((error: unknown) => {
      const members = { service: 'ingest', event: 'revert_failed', backfill_id: waiting.backfillId, err: error }
      deps.logger.error(members, 'a revert stopped; it is tried again')
    })
  }
  const runAll = async (): Promise<void> => {
    const waiting = await listWaitingReverts(deps.pool).catch((error: unknown) => {
      deps.logger.warn({ service: 'ingest', err: error }, 'reverts could not be listed')
      return []
    })
    for (const one of waiting) if (!stopped) await runOne(one)
  }
  const look = (): void => {
    if (stopped) return
    if (pass) {
      again = true
      return
    }
    pass = runAll().finally(() => {
      pass = undefined
      if (again) {
        again = false
        look()
      }
    })
  }
  return {
    start: () => {
      look()
      timer = setInterval(look, LOOK_EVERY_MS)
      timer.unref()
    },
    look,
    stop: async () => {
      stopped = true
      clearInterval(timer)
      await pass
    },
  }
}
