import type { Logger } from 'pino'
import { isCorrected, type Pass, type Reconciler } from './reconciler.ts'
import type { Turn } from './turn.postgres.ts'

export type ReconcileKeeper = {
  start(): void
  /** Resolves when the question under way is answered. */
  stop(): Promise<void>
}

export type KeeperDeps = {
  turn: Turn
  /** A new one, which remembers no passes. */
  open: (signal: AbortSignal, failed: (error: unknown) => void) => Reconciler
  report: (pass: Pass) => Promise<void>
  /** Another process compares. */
  forget: () => void
  logger: Logger
}

/** Compares again and again, while it is this process's turn. Trouble is told once, until a pass was without any. */
export function keepReconciling({ turn, open, report, forget, logger }: KeeperDeps, everyMs: number): ReconcileKeeper {
  const stopping = new AbortController()
  let timer: NodeJS.Timeout | undefined
  let passing = Promise.resolve()
  let reconciler: Reconciler | undefined
  let isTold = false
  let isTroubled = false

  const trouble = (error: unknown): void => {
    isTroubled = true
    if (isTold || stopping.signal.aborted) return
    isTold = true
    logger.warn({ service: 'ingest', err: error }, 'quota counters cannot be compared with usage; it is tried again')
  }
  const pass = async (): Promise<void> => {
    if (!(await turn.take())) {
      // Passes of two processes are not in a row.
      reconciler = undefined
      forget()
      return
    }
    reconciler ??= open(stopping.signal, trouble)
    const seen = await reconciler.pass(true)
    // What was corrected is told whatever happens; the rest is seen again.
    if (!stopping.signal.aborted || hasCorrected(seen)) await report(seen)
    if (seen.failure !== undefined) throw seen.failure
  }
  const passSafely = async (): Promise<void> => {
    isTroubled = false
    await pass().catch(trouble)
    if (!isTroubled) isTold = false
    timer?.refresh()
  }
  return {
    start: () => {
      timer = setTimeout(() => {
        passing = passSafely()
      }, everyMs)
      timer.unref()
    },
    stop: async () => {
      stopping.abort()
      clearTimeout(timer)
      timer = undefined
      await passing
      turn.leave()
    },
  }
}

function hasCorrected({ differences }: Pass): boolean {
  return [...differences.values()].flat().some(isCorrected)
}
